"""Data sets in memory: always train, validation (cut from train by seed) and test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from isoprune.data.cifar import cifar10, cifar100
from isoprune.data.digits import digits
from isoprune.data.fashion_mnist import fashion_mnist
from isoprune.data.mnist import mnist
from isoprune.errors import pick
from isoprune.types import Splits

DATA_SETS: dict[str, Callable[..., Splits]] = {
    f.__name__: f for f in (digits, fashion_mnist, mnist, cifar10, cifar100)
}


def load(
    name: str,
    *,
    seed: int,
    validation: float | int = 0.1,
    root: Path | None = None,
    limit: int | None = None,
    size: int = 32,
) -> Splits:
    """Return the data set called ``name``, resized, normalised and split.

    Args:
        name: A key of ``DATA_SETS``.
        seed: Which images of the published training part become validation.
        validation: How many of them: a fraction of that part, or a count if it is an integer.
        root: Where the files are or go; None is ``$ISOPRUNE_DATA``, else the user's cache.
        limit: Train on so many images only; validation and test stay as they are.
        size: Images are brought to ``size`` x ``size`` pixels.

    Raises:
        IsopruneError: Unknown name, files that are missing or damaged, or a cut that leaves a split
            empty or fewer than two classes to train on.
    """
    return pick(DATA_SETS, name, "data set")(root, seed=seed, validation=validation, limit=limit, size=size)


__all__ = ["DATA_SETS", "cifar10", "cifar100", "digits", "fashion_mnist", "load", "mnist"]
