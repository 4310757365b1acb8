"""What the filters of a layer read, as vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from isoprune.signals.matrices import CONVOLUTIONS, TRANSPOSED

Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


def patches(layer: nn.Module, x: Tensor, most: int, *, generator: Generator) -> Tensor | None:
    """Return up to ``most`` random patches that a Linear or convolution reads, [groups, patches, fan_in].

    None for other layers: at one place a transposed convolution reads with a few of a filter's taps only, and
    an attention with several matrices.
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


def windows(
    layer: nn.Conv1d | nn.Conv2d | nn.Conv3d | Transposed, x: Tensor, made: Sequence[int] | None = None
) -> Tensor:
    """Return what a convolution reads at each of its places: [samples, *places, channels, *taps], a view.

    A view of the padded input: nothing but what is picked from it is ever copied. The taps of a transposed
    convolution are in reverse, and read zero where the stride passes an output by: it is the convolution, by
    its flipped kernel, of its input with zeros in between.

    Args:
        layer: A convolution, transposed or not.
        x: Its input.
        made: The sizes of its output map, which a transposed convolution may be given in the call. None:
            those that its own ``output_padding`` makes.
    """
    if isinstance(layer, TRANSPOSED):
        padded, stride = _spread(layer, x, made), (1,) * len(layer.kernel_size)
    else:
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        padded = nn.functional.pad(x, layer._reversed_padding_repeated_twice, mode=mode)
        stride = layer.stride
    geometry = list(zip(layer.kernel_size, stride, layer.dilation, strict=True))
    for dim, (taps, step, dilation) in enumerate(geometry):
        padded = padded.unfold(2 + dim, dilation * (taps - 1) + 1, step)[..., ::dilation]
    dims = len(geometry)
    return padded.permute(0, *range(2, 2 + dims), 1, *range(2 + dims, 2 + 2 * dims))


def _spread(layer: Transposed, x: Tensor, made: Sequence[int] | None) -> Tensor:
    """Return ``x`` with zeros in between, as the stride asks for, and around it (or cut off there)."""
    sizes = [(n - 1) * stride + 1 for n, stride in zip(x.shape[2:], layer.stride, strict=True)]
    spread = x.new_zeros(*x.shape[:2], *sizes)
    spread[(..., *(slice(None, None, stride) for stride in layer.stride))] = x
    around: list[int] = []
    for dim in reversed(range(len(sizes))):
        padding = layer.padding[dim]
        assert isinstance(padding, int)  # a transposed convolution takes no "same"
        reach = layer.dilation[dim] * (layer.kernel_size[dim] - 1)
        end = reach - padding + layer.output_padding[dim]
        if made is not None:
            end = made[dim] - sizes[dim] + padding
        around += [reach - padding, end]
    return nn.functional.pad(spread, around)


def _some(count: int, most: int, generator: Generator) -> Tensor:
    return torch.randperm(count, generator=generator)[:most]
