"""What the filters of a layer read, as vectors."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from isoprune.repairs.weights import CONVOLUTIONS


def patches(layer: nn.Module, x: Tensor, most: int, *, generator: Generator) -> Tensor | None:
    """Return up to ``most`` random patches that a Linear or convolution reads, [groups, patches, fan_in].

    None for other layers: what a transposed convolution or an attention reads does not line up with one
    filter's weights.
    """
    if isinstance(layer, nn.Linear):
        rows = x.flatten(0, -2) if x.ndim > 1 else x[None]
        return rows[_some(len(rows), most, generator)][None]
    if not isinstance(layer, CONVOLUTIONS):
        return None
    seen = windows(layer, x)
    places = seen.shape[: -1 - len(layer.kernel_size)]
    drawn = seen[torch.unravel_index(_some(places.numel(), most, generator), places)]
    return drawn.reshape(len(drawn), layer.groups, -1).transpose(0, 1)


def windows(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, x: Tensor) -> Tensor:
    """Return what a convolution reads at each of its places: [samples, *places, channels, *taps], a view.

    A view of the padded input: nothing but what is picked from it is ever copied.
    """
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    seen = nn.functional.pad(x, layer._reversed_padding_repeated_twice, mode=mode)
    geometry = list(zip(layer.kernel_size, layer.stride, layer.dilation, strict=True))
    for dim, (taps, stride, dilation) in enumerate(geometry):
        seen = seen.unfold(2 + dim, dilation * (taps - 1) + 1, stride)[..., ::dilation]
    dims = len(geometry)
    return seen.permute(0, *range(2, 2 + dims), 1, *range(2 + dims, 2 + 2 * dims))


def _some(count: int, most: int, generator: Generator) -> Tensor:
    return torch.randperm(count, generator=generator)[:most]
