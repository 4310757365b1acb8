"""Widths that hardware likes less: those that are no multiple of 8."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.conv import _ConvNd


def odd_widths(model: nn.Module, multiple: int = 8) -> dict[str, int]:
    """Return, by layer, the outputs of convolutions and Linear layers that are no such multiple."""
    widths = {
        name: m.out_channels if isinstance(m, _ConvNd) else m.out_features
        for name, m in model.named_modules()
        if isinstance(m, _ConvNd | nn.Linear)
    }
    return {name: width for name, width in widths.items() if width % multiple}
