"""What options of a training may be, in files, on the command line and in Python. Loads without torch."""

from __future__ import annotations

from typing import Literal, get_args

from isoprune.types.errors import IsopruneError

OptimizerName = Literal["sgd", "adamw"]
OPTIMIZERS: tuple[str, ...] = get_args(OptimizerName)


def check_nesterov(nesterov: bool, optimizer: object, momentum: float, *, key: str = "") -> None:
    """Raise IsopruneError if Nesterov's momentum is asked of an optimizer that has none.

    Args:
        key: Where the training stands in a file, as "retrain"; "": in Python.
    """
    place = f"{key}." if key else ""
    if nesterov and optimizer != "sgd":
        raise IsopruneError(f'{place}nesterov is of SGD. Leave it out, or give {place}optimizer = "sgd".')
    if nesterov and not momentum:
        raise IsopruneError(f"{place}nesterov needs {place}momentum, which is 0. Raise it, or leave it out.")
