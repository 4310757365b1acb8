"""CIFAR-10 and CIFAR-100: 50,000 + 10,000 colour images, 32 x 32 (Krizhevsky, 2009)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from isoprune.data.files import damaged, data_root, fetch
from isoprune.data.splits import make_splits
from isoprune.types import Splits

Normal = tuple[float, float, float]
# Of the authors' code; for CIFAR-10 they are ImageNet's.
MEAN_10, STD_10 = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MEAN_100, STD_100 = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)


def cifar10(
    root: Path | None = None,
    *,
    seed: int,
    validation: float | int = 0.1,
    limit: int | None = None,
    size: int = 32,
    augment: bool = False,
) -> Splits:
    """Return CIFAR-10; options as in ``load``. Read from ``root/cifar-10-batches-py``, else downloaded.

    With ``augment`` a training batch is cropped (4 black pixels around) and mirrored at random.
    """
    how = {"seed": seed, "validation": validation, "limit": limit, "size": size, "augment": augment}
    return _splits("CIFAR10", root, MEAN_10, STD_10, **how)


def cifar100(
    root: Path | None = None,
    *,
    seed: int,
    validation: float | int = 0.1,
    limit: int | None = None,
    size: int = 32,
    augment: bool = False,
) -> Splits:
    """Return CIFAR-100; options as in ``load``. Read from ``root/cifar-100-python``, else downloaded.

    With ``augment`` a training batch is cropped (4 black pixels around) and mirrored at random.
    """
    how = {"seed": seed, "validation": validation, "limit": limit, "size": size, "augment": augment}
    return _splits("CIFAR100", root, MEAN_100, STD_100, **how)


def _splits(
    class_name: str, root: Path | None, mean: Normal, std: Normal, *, augment: bool, **how: Any
) -> Splits:
    name, changed = class_name.lower(), crop_flip_for(mean, std) if augment else None
    parts = _read(name, class_name, root or data_root())
    return make_splits(name, *parts, mean=mean, std=std, augment=changed, **how)


def _read(name: str, class_name: str, root: Path) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return (images, labels) of train and of test; torchvision compares checksums before it unpickles."""
    import torchvision  # slow to import
    from torchvision.datasets.utils import check_integrity

    data_set = getattr(torchvision.datasets, class_name)
    checksums = [*data_set.train_list, *data_set.test_list, (data_set.meta["filename"], data_set.meta["md5"])]
    files = [f"{data_set.base_folder}/{file}" for file, _ in checksums]
    if not all((root / file).is_file() for file in files):
        fetch(name, lambda directory: data_set(directory, download=True), root=root, files=files)
    for file, (_, checksum) in zip(files, checksums, strict=True):
        if not check_integrity(root / file, checksum):
            raise damaged(root / file, "its checksum is not the published one")
    return _part(data_set(root, train=True)), _part(data_set(root, train=False))


def _part(part: object) -> tuple[Tensor, Tensor]:
    images: Tensor = torch.from_numpy(part.data)  # pyright: ignore[reportAttributeAccessIssue]
    labels: Sequence[int] = part.targets  # pyright: ignore[reportAttributeAccessIssue]
    return images.permute(0, 3, 1, 2), torch.tensor(labels)


PADDING = 4  # pixels on each side: He, Zhang, Ren & Sun, 2016, section 4.2


def crop_flip(
    images: Float[Tensor, "n channels height width"],
    generator: Generator,
    *,
    black: Sequence[float],
    padding: int = PADDING,
) -> Float[Tensor, "n channels height width"]:
    """Return each image cut anew out of a frame of ``padding`` pixels, and mirrored half of the time.

    For the whole batch the first rows of the cuts are drawn, uniform in 0 to 2 ``padding``, then their first
    columns, then who is mirrored; on the generator's device, so that a batch on an accelerator is cut as one
    on the CPU is.

    Args:
        black: Of each channel, what is around an image: a pixel of zero, as the images are normalised.
    """
    n, channels, height, width = images.shape
    top, left = (_draw(n, 2 * padding + 1, generator).to(images.device) for _ in range(2))
    mirrored = _draw(n, 2, generator).bool().to(images.device)
    around = images.new_tensor(black).view(1, channels, 1, 1)
    wide = around.repeat(n, 1, height + 2 * padding, width + 2 * padding)
    wide[:, :, padding : padding + height, padding : padding + width] = images
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(n, width)
    columns = left[:, None] + torch.where(mirrored[:, None], columns.flip(1), columns)
    places = (rows[:, :, None] * wide.size(3) + columns[:, None, :]).view(n, 1, height * width)
    return wide.flatten(2).gather(2, places.expand(-1, channels, -1)).view_as(images)


def crop_flip_for(mean: Sequence[float], std: Sequence[float]) -> Callable[[Tensor, Generator], Tensor]:
    """Return `crop_flip` for images normalised by ``mean`` and ``std``.

    The authors' code pads before it normalises, so what is around an image is black: (0 - mean) / std.
    """
    return partial(crop_flip, black=[-m / s for m, s in zip(mean, std, strict=True)])


def _draw(n: int, high: int, generator: Generator) -> Tensor:
    return torch.randint(high, (n,), generator=generator, device=generator.device)
