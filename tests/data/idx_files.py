"""Small idx files, written value by value: the slow, obvious inverse of the reader."""

from __future__ import annotations

import gzip
from pathlib import Path

import torch
from torch import Generator, Tensor

from isoprune.data.mnist import FILES


def idx_bytes(values: Tensor) -> bytes:
    header = bytes((0, 0, 8, values.dim())) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    return header + bytes(values.flatten().tolist())


def tiny_set(train: int = 40, test: int = 12) -> list[Tensor]:
    """Four tensors of bytes in the order of FILES: images of 28 x 28 and labels of four classes."""
    g = Generator().manual_seed(0)
    images = [torch.randint(256, (n, 28, 28), generator=g).to(torch.uint8) for n in (train, test)]
    labels = [(torch.arange(n) % 4).to(torch.uint8) for n in (train, test)]
    return [images[0], labels[0], images[1], labels[1]]


def write_set(directory: Path, tensors: list[Tensor], *, zipped: bool = False) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, values in zip(FILES, tensors, strict=True):
        content = idx_bytes(values)
        if zipped:
            (directory / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (directory / name).write_bytes(content)
