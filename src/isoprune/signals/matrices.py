"""The weights of layers as filter matrices."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isoprune.linalg import filter_matrix

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def filter_matrices(model: nn.Module) -> dict[str, Tensor]:
    """Return [blocks, filters, fan_in] by the weight's name, detached; blocks are a convolution's groups."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)):
            parts = module.weight.detach().chunk(getattr(module, "groups", 1))
            # A transposed convolution stores [in, out / groups, ...]: its filters are the second dimension.
            flip = isinstance(module, TRANSPOSED)
            found[f"{name}.weight".lstrip(".")] = torch.stack(
                [filter_matrix(p.transpose(0, 1) if flip else p) for p in parts]
            )
    return found
