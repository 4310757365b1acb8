"""A BatchNorm as the affine map it is in eval mode, and one that follows new weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from isoprune.methods.layers.stored import write_

# A scale below this part of the layer's mean says nothing of what it reads.
_TINY = 1e-3


@dataclass(frozen=True)
class Affine:
    """z -> ``scale`` z + ``shift``, channel by channel, in float64."""

    scale: Tensor
    shift: Tensor

    @staticmethod
    def of(norm: _BatchNorm, rows: Tensor) -> Affine | None:
        """Return what ``norm`` does in eval mode to its channels ``rows``; None if it keeps no statistics."""
        if norm.running_mean is None or norm.running_var is None:
            return None
        scale = (norm.running_var[rows].double() + norm.eps).rsqrt()
        shift = -norm.running_mean[rows].double() * scale
        if norm.affine:
            gamma, beta = norm.weight[rows].double(), norm.bias[rows].double()
            scale, shift = scale * gamma, shift * gamma + beta
        return Affine(scale, shift)

    def undone(self, z: Tensor, otherwise: Tensor) -> Tensor:
        """Return what the map makes ``z`` [..., channels] of; ``otherwise`` where it all but forgets it."""
        safe = self.scale.abs() > _TINY * self.scale.abs().mean()
        before = (z.double() - self.shift) / torch.where(safe, self.scale, 1.0)
        return torch.where(safe, before, otherwise.double()).to(otherwise.dtype)


def follow_(
    norm: _BatchNorm, affine: Affine, b: Tensor, mean: Tensor, variance: Tensor, length: float
) -> None:
    """Let ``norm`` map ``length`` times z to ``affine`` (z + b), where z has this mean and variance.

    In eval mode, and in train mode on data like these: its statistics are those of what it reads. Without a
    scale and shift of its own it normalises, which is all it can do.
    """
    if take_statistics_(norm, length * mean, length**2 * variance) and norm.affine:
        write_(norm, "weight", affine.scale * (length**2 * variance + norm.eps).sqrt() / length)
        write_(norm, "bias", affine.shift + affine.scale * (mean + b))


def take_statistics_(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> bool:
    """Let the statistics of ``norm`` be those of what it reads; return whether it keeps any."""
    if norm.running_mean is None or norm.running_var is None:
        return False
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    return True
