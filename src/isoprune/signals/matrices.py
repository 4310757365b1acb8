"""The weights of layers as filter matrices."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isoprune.linalg import filter_matrix

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)


def as_matrices(weight: Tensor, layer: nn.Module, blocks: int) -> Tensor:
    """Return a tensor of the shape of a layer's weight as filter matrices [blocks, filters, fan_in]."""
    # A transposed convolution stores [in, out / groups, ...]: its filters are the second dimension.
    flip = isinstance(layer, TRANSPOSED)
    return torch.stack([filter_matrix(p.transpose(0, 1) if flip else p) for p in weight.chunk(blocks)])


def filter_matrices(model: nn.Module) -> dict[str, Tensor]:
    """Return [blocks, filters, fan_in] by the weight's name, detached; blocks are a convolution's groups."""
    return {
        f"{name}.weight".lstrip("."): as_matrices(m.weight.detach(), m, getattr(m, "groups", 1))
        for name, m in model.named_modules()
        if isinstance(m, LAYERS)
    }
