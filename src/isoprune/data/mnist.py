"""MNIST and Fashion-MNIST: 60,000 + 10,000 grey images each, 28 x 28, of written digits and of clothes.

Sources: LeCun, Bottou, Bengio & Haffner, 1998; Xiao, Rasul & Vollgraf, 2017.
"""

from __future__ import annotations

from pathlib import Path

from isoprune.data.files import data_root
from isoprune.data.idx import read_idx_set
from isoprune.data.splits import make_splits
from isoprune.types import Splits

# Where Debian's package dataset-fashion-mnist puts the four files.
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def mnist(
    root: Path | None = None,
    *,
    seed: int,
    validation: float | int = 0.1,
    limit: int | None = None,
    size: int = 32,
    test_limit: int | None = None,
) -> Splits:
    """Return MNIST; options as in ``load``, and ``test_limit``: test on the first so many images only.

    Read from ``root/MNIST/raw``, else downloaded by torchvision.
    """
    how = {"seed": seed, "validation": validation, "limit": limit, "size": size, "test_limit": test_limit}
    parts = read_idx_set("mnist", "MNIST", root=root or data_root())
    # The constants of the authors' code.
    return make_splits("mnist", *parts, mean=(0.1307,), std=(0.3081,), **how)


def fashion_mnist(
    root: Path | None = None,
    *,
    seed: int,
    validation: float | int = 0.1,
    limit: int | None = None,
    size: int = 32,
    test_limit: int | None = None,
) -> Splits:
    """Return Fashion-MNIST; options as in ``mnist``.

    Read from ``root/FashionMNIST/raw``, else from Debian's package, else downloaded by torchvision.
    """
    how = {"seed": seed, "validation": validation, "limit": limit, "size": size, "test_limit": test_limit}
    hint = ", or install Debian's package dataset-fashion-mnist"
    parts = read_idx_set(
        "fashion_mnist", "FashionMNIST", root=root or data_root(), elsewhere=[DEBIAN], hint=hint
    )
    # Over all pixels of the 60,000 published training images.
    return make_splits("fashion_mnist", *parts, mean=(0.2860,), std=(0.3530,), **how)
