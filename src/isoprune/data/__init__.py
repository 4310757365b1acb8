"""Data sets: always train, validation (cut from train by seed) and test."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from isoprune.data.cifar import cifar10, cifar100
from isoprune.data.digits import digits
from isoprune.data.image_folder import image_folder
from isoprune.data.mnist import fashion_mnist, mnist
from isoprune.types import Splits
from isoprune.types.errors import IsopruneError, did_you_mean, pick

DATA_SETS: dict[str, Callable[..., Splits]] = {
    f.__name__: f for f in (digits, fashion_mnist, mnist, cifar10, cifar100, image_folder)
}


def load(
    name: str,
    *,
    seed: int,
    root: Path | None = None,
    **options: Any,
) -> Splits:
    """Return the data set called ``name``, resized, normalised and split.

    Args:
        name: A key of ``DATA_SETS``.
        seed: Which images of the published training part become validation.
        root: Where the files are or go; None is ``$ISOPRUNE_DATA``, else the user's cache.
        options: Those of the data set's function. All have ``validation`` (how many of the training images:
            a fraction of them, or a count if it is an integer; 0.1), ``limit`` (train on so many images only;
            validation and test stay as they are) and ``size`` (images are brought to ``size`` x ``size``
            pixels; 32).

    Raises:
        IsopruneError: Unknown name or option, files that are missing or damaged, or a cut that leaves a split
            empty or fewer than two classes to train on.
    """
    read = pick(DATA_SETS, name, "data set")
    known = [*inspect.signature(read).parameters]
    for option in options:
        if option not in known:
            raise IsopruneError(
                f"Unknown option {option!r} of data set {name!r}.{did_you_mean(option, known)}"
            )
    return read(root, seed=seed, **options)
