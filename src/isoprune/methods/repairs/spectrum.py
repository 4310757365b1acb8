"""Spectrum: singular values of each filter matrix pulled toward their mean."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from isoprune.linalg.factors import require_finite
from isoprune.methods.layers.weights import Weight, rewritten
from isoprune.pruning.pruned import Pruned
from isoprune.signals.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.method import method
from isoprune.types.units import DEPTH, GRAINS

_RTOL = 1e-6  # numerical rank, as in `polar_factor`


@method("repair", grains=(*GRAINS, DEPTH))
def spectrum(
    pruned: Pruned, signals: Signals, *, generator: Generator, strength: int | float = 0.5
) -> nn.Module:
    r"""Return a copy with flatter spectra: between the kept weights and `polar`, at their own scale.

    .. math:: \sigma_i \leftarrow (1 - s) \sigma_i + s \bar\sigma, \qquad W = U \Sigma V^\top

    for each filter matrix W; :math:`\bar\sigma` is the mean of those that are not zero. Singular vectors,
    rank (a dead filter stays dead) and the sum of the singular values stay. Biases and BatchNorm stay.
    Where single weights are masked, what they would get is dropped.

    Args:
        strength: s. 0 changes nothing; 1 makes all singular values equal.

    Cost: an SVD of every filter matrix. Memory: a copy of the network; U, sigma and V of one filter matrix.

    Raises:
        IsopruneError: If ``strength`` is not in [0, 1]; if a weight is parametrised, or holds NaN or
            infinity.
    """
    if not 0 <= strength <= 1:
        raise IsopruneError(f"strength is {strength}; pass a number from 0 (as it is) to 1 (all equal).")

    def flatter(_: Weight, W: Tensor, _mask: Tensor | None) -> Tensor:
        require_finite(W)
        U, sigma, Vh = torch.linalg.svd(W, full_matrices=False)
        # The directions of zeros are arbitrary: raising these would put noise into the layer.
        alive = sigma > _RTOL * sigma[:1]
        mean = sigma.sum() / alive.sum().clamp_min(1)
        return (U * torch.where(alive, (1 - strength) * sigma + strength * mean, sigma)) @ Vh

    return rewritten(pruned.model, flatter, gain=1)
