"""Random changes of a batch of small images in memory, as the papers train on CIFAR."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Generator, Tensor

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
