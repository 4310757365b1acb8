"""Singular values -> the numbers that are reported."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from isoprune.types import IsopruneError

_SMALL = 1e-3


def summary(sigma: Float[Tensor, "samples values"]) -> dict[str, float]:
    r"""Return what a report says about singular values, computed in float64.

    ==============  ====================================================================================
    mean, std       over all values of all samples (std of the population, so one value has std 0)
    min, max        over all values of all samples
    condition       mean over samples of the sample's largest over its smallest value
    log_spread      mean over samples of the standard deviation of :math:`\log_{10}\sigma` (decades)
    below_1e3       fraction of values below 1e-3
    distance        distance to isometry, the mean of :math:`(\sigma - 1)^2`
    ==============  ====================================================================================

    Condition and log-spread cannot be told beyond rounding: there, values below eps times the sample's
    largest (eps of sigma's type) count as eps times the largest. So a singular Jacobian has condition 1/eps,
    not infinity, which JSON does not know. An all-zero sample has condition 1/eps and log-spread 0.

    Raises:
        IsopruneError: If there is no value, or one is negative, NaN or infinite.
    """
    if sigma.numel() == 0 or not bool(((sigma >= 0) & torch.isfinite(sigma)).all()):
        raise IsopruneError(
            f"sigma of shape {tuple(sigma.shape)} must hold singular values: at least one, finite, >= 0."
        )
    eps = torch.finfo(sigma.dtype).eps
    s = sigma.detach().double().cpu()
    largest = s.amax(dim=1, keepdim=True)
    alive = largest > 0
    floored = torch.where(alive, s.clamp_min(eps * largest), 1.0)
    condition = torch.where(alive[:, 0], largest[:, 0] / floored.amin(dim=1), 1 / eps)
    return {
        "mean": float(s.mean()),
        "std": float(s.std(correction=0)),
        "min": float(s.min()),
        "max": float(s.max()),
        "condition": float(condition.mean()),
        "log_spread": float(floored.log10().std(dim=1, correction=0).mean()),
        "below_1e3": float((s < _SMALL).double().mean()),
        "distance": float(((s - 1) ** 2).mean()),
    }
