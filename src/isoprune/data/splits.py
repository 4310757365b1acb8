"""From the published two parts, as bytes, to three normalised splits in memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from isoprune.types import Augment, IsopruneError, Splits
from isoprune.types.samples import Split
from isoprune.types.seeded import seeded


def make_splits(
    name: str,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    white: int = 255,
    seed: int,
    validation: float | int,
    limit: int | None,
    size: int,
    test_limit: int | None = None,
    augment: Augment | None = None,
) -> Splits:
    """Return train, validation and test; ``train`` and ``test`` are (images as bytes, labels).

    ``augment`` changes the batches of the training split while it is trained on; ``test_limit`` takes the
    first so many test images.

    Raises:
        IsopruneError: If fewer than two classes are left to train on, or a split would be empty.
    """
    images, labels = train
    if test_limit is not None and not 0 < test_limit <= len(test[1]):
        raise IsopruneError(
            f"test_limit = {test_limit}, and {name} has {len(test[1])} test images. Give 1 to "
            f"{len(test[1])}, or leave test_limit out."
        )
    training, validating = split_indices(len(labels), seed=seed, validation=validation, limit=limit)
    classes = int(max(labels.max(), test[1].max())) + 1
    require_two_classes(name, labels[training])

    def split(images: Tensor, labels: Tensor, augment: Augment | None = None) -> Split:
        return Split(prepare(images, mean=mean, std=std, white=white, size=size), labels.long(), augment)

    return Splits(
        train=split(images[training], labels[training], augment),
        validation=split(images[validating], labels[validating]),
        test=split(test[0][:test_limit], test[1][:test_limit]),
        classes=classes,
    )


def require_two_classes(name: str, labels: Tensor) -> None:
    """Raise unless there is something to tell apart among the labels that are trained on."""
    if len(labels.unique()) < 2:
        raise IsopruneError(
            f"All {len(labels)} training images of {name} are of one class, and telling classes apart takes "
            "two. Raise limit, lower validation, or look at the labels."
        )


def split_indices(
    count: int, *, seed: int, validation: float | int, limit: int | None
) -> tuple[Int64[Tensor, " train"], Int64[Tensor, " validation"]]:
    """Return the training and the validation indices of ``count`` images.

    Validation is drawn first, so ``limit`` (fewer training images) leaves it as it is.
    """
    validating, rest = random_part(count, validation, "validation", "training images", seed=seed)
    if limit is not None and not 0 < limit <= len(rest):
        raise IsopruneError(
            f"limit = {limit}, and validation leaves {len(rest)} training images. "
            f"Give 1 to {len(rest)}, or leave limit out."
        )
    return rest[:limit], validating


def random_part(
    count: int, part: float | int, name: str, what: str, *, seed: int
) -> tuple[Int64[Tensor, " part"], Int64[Tensor, " rest"]]:
    """Return the indices of a random part of ``count`` images, a fraction or a number of them; and the rest.

    Raises:
        IsopruneError: If one of both would be empty.
    """
    number = part if isinstance(part, int) else round(part * count)
    if not 0 < number < count:
        raise IsopruneError(
            f"{name} = {part} cuts {number} of {count} {what}. "
            "Give a fraction between 0 and 1, or a count that leaves images on both sides."
        )
    order = torch.randperm(count, generator=seeded(seed))
    return order[:number], order[number:]


def prepare(
    images: UInt8[Tensor, "n channels height width"],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    white: int = 255,
    size: int = 32,
) -> Float32[Tensor, "n channels size size"]:
    """Return images of ``size`` x ``size`` pixels, ``white`` scaled to one, then (x - mean) / std.

    The resize is bilinear as in torchvision's ``Resize``, without its rounding to whole grey levels.
    """
    shift, scale = (torch.tensor(v, dtype=torch.float32).view(-1, 1, 1) for v in (mean, std))
    out = torch.empty(*images.shape[:2], size, size)
    # In chunks, so that the bytes, the result and little else are in memory together.
    for chunk, there in zip(images.split(4096), out.split(4096), strict=True):
        pixels = chunk.float() / white
        if pixels.shape[-2:] != there.shape[-2:]:
            pixels = interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)
        torch.div(pixels - shift, scale, out=there)
    return out
