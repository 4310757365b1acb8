"""What options of a training may be, in files, on the command line and in Python. Loads without torch."""

from __future__ import annotations

import math
from typing import Literal, get_args

from isoprune.types.errors import IsopruneError

OptimizerName = Literal["sgd", "adamw"]
OPTIMIZERS: tuple[str, ...] = get_args(OptimizerName)


def check_distill(weight: object, temperature: object, *, key: str = "distill") -> None:
    """Raise IsopruneError unless the weight is in [0, 1] and the temperature above 0 and finite."""
    if not (isinstance(weight, int | float) and 0 <= weight <= 1):
        raise IsopruneError(f"{key}.weight is {weight!r}, outside [0, 1]. It is the teacher's part.")
    if not (isinstance(temperature, int | float) and 0 < temperature < math.inf):
        raise IsopruneError(f"{key}.temperature is {temperature!r}, outside (0, inf). 4 is usual.")


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
