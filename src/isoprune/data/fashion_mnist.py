"""Fashion-MNIST: 60,000 + 10,000 grey images of clothes, 28 x 28 (Xiao, Rasul & Vollgraf, 2017)."""

from __future__ import annotations

from pathlib import Path

from isoprune.data.files import data_root
from isoprune.data.idx import read_idx_set
from isoprune.data.splits import make_splits
from isoprune.types import Splits

# Where Debian's package dataset-fashion-mnist puts the four files.
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def fashion_mnist(
    root: Path | None = None,
    *,
    seed: int,
    validation: float | int = 0.1,
    limit: int | None = None,
    size: int = 32,
) -> Splits:
    """Return Fashion-MNIST; options as in ``load``.

    Read from ``root/FashionMNIST/raw``, else from Debian's package, else downloaded by torchvision.
    """
    train, test = read_idx_set(
        "fashion_mnist",
        _download,
        root=root or data_root(),
        below="FashionMNIST/raw",
        elsewhere=[DEBIAN],
        hint=", or install Debian's package dataset-fashion-mnist",
    )
    return make_splits(
        "fashion_mnist",
        train,
        test,
        # Over all pixels of the 60,000 published training images.
        mean=(0.2860,),
        std=(0.3530,),
        seed=seed,
        validation=validation,
        limit=limit,
        size=size,
    )


def _download(directory: Path) -> None:
    from torchvision.datasets import FashionMNIST  # slow to import, and seldom needed

    FashionMNIST(directory, download=True)
