"""MNIST: 60,000 + 10,000 handwritten digits, 28 x 28 (LeCun, Bottou, Bengio & Haffner, 1998)."""

from __future__ import annotations

from pathlib import Path

from isoprune.data.files import data_root
from isoprune.data.idx import read_idx_set
from isoprune.data.splits import make_splits
from isoprune.types import Splits


def mnist(
    root: Path | None = None,
    *,
    seed: int,
    validation: float | int = 0.1,
    limit: int | None = None,
    size: int = 32,
) -> Splits:
    """Return MNIST; options as in ``load``. Read from ``root/MNIST/raw``, else downloaded by torchvision."""
    train, test = read_idx_set("mnist", _download, root=root or data_root(), below="MNIST/raw")
    return make_splits(
        "mnist",
        train,
        test,
        # The constants of the authors' code.
        mean=(0.1307,),
        std=(0.3081,),
        seed=seed,
        validation=validation,
        limit=limit,
        size=size,
    )


def _download(directory: Path) -> None:
    from torchvision.datasets import MNIST  # slow to import, and seldom needed

    MNIST(directory, download=True)
