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
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    windows = nn.functional.pad(x, layer._reversed_padding_repeated_twice, mode=mode)
    dims = len(layer.kernel_size)
    geometry = zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)
    for dim, (taps, stride, dilation) in enumerate(geometry):
        windows = windows.unfold(2 + dim, dilation * (taps - 1) + 1, stride)[..., ::dilation]
    # [samples, channels, *places, *taps]; unfolded dimensions are views, so only what is drawn is copied.
    size = windows.shape[2 : 2 + dims]
    count = len(x) * size.numel()
    at = torch.unravel_index(_some(count, most, generator), (len(x), *size))
    places_first = windows.permute(0, *range(2, 2 + dims), 1, *range(2 + dims, 2 + 2 * dims))
    drawn = places_first[at]
    return drawn.reshape(len(drawn), layer.groups, -1).transpose(0, 1)


def _some(count: int, most: int, generator: Generator) -> Tensor:
    return torch.randperm(count, generator=generator)[:most]
