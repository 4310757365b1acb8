"""MNIST and Fashion-MNIST: 60,000 + 10,000 grey images each, 28 x 28, of written digits and of clothes.

Sources: LeCun, Bottou, Bengio & Haffner, 1998; Xiao, Rasul & Vollgraf, 2017.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from isoprune.data.files import damaged, data_root, fetch
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


FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def read_idx_set(
    name: str, class_name: str, *, root: Path, elsewhere: Sequence[Path] = (), hint: str = ""
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return (images, labels) of train and of test, from ``root/CLASS/raw`` or else ``elsewhere``.

    If no directory holds all four files, torchvision's class of that name downloads them into the first.
    """
    below = f"{class_name}/raw"
    found = next((paths for place in (root / below, *elsewhere) if (paths := find(place))), None)
    if found is None:

        def download(directory: Path) -> None:
            from torchvision import datasets  # slow to import, and seldom needed

            getattr(datasets, class_name)(directory, download=True)

        fetch(name, download, root=root, files=[f"{below}/{file}" for file in FILES], hint=hint)
        found = [root / below / file for file in FILES]
    train_images, train_labels, test_images, test_labels = found
    return read_pair(train_images, train_labels), read_pair(test_images, test_labels)


def find(directory: Path) -> list[Path] | None:
    """Return the paths of the four files, plain ones first, or None unless all are there."""
    paths = [
        next((p for p in (directory / file, directory / f"{file}.gz") if p.is_file()), None) for file in FILES
    ]
    return [p for p in paths if p is not None] if all(paths) else None


def read_pair(images: Path, labels: Path) -> tuple[UInt8[Tensor, "n 1 height width"], UInt8[Tensor, " n"]]:
    """Return images and labels of one part, as many of the one as of the other."""
    x, y = read_idx(images, dims=3), read_idx(labels, dims=1)
    if len(x) != len(y):
        raise damaged(labels, f"{len(y)} labels for the {len(x)} images of {images.name}")
    if not len(x):
        raise damaged(images, "it holds no image")
    return x[:, None], y


def read_idx(path: Path, *, dims: int) -> Tensor:
    """Return the bytes of an idx file as a tensor of ``dims`` dimensions.

    The format: two zero bytes, the type (8: unsigned byte), the number of dimensions, each
    dimension as a big-endian 32-bit integer, then the values, last dimension fastest.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, error) from error
    start = 4 + 4 * dims
    if content[:4] != bytes((0, 0, 8, dims)) or len(content) < start:
        raise damaged(path, f"it does not begin as an idx file of {dims} dimensions")
    shape = struct.unpack(f">{dims}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise damaged(path, f"{len(content) - start} values where its header says {math.prod(shape)}")
    # A bytearray, because torch wants memory that may be written to.
    return torch.from_numpy(np.frombuffer(bytearray(content[start:]), dtype=np.uint8).reshape(shape))
