"""The largest eigenvalue of the Hessian."""

from __future__ import annotations

import torch
from torch import Generator

from isoprune.linalg.lanczos import ritz_values
from isoprune.methods.measures.decades import log10
from isoprune.methods.measures.hessian import Hessian
from isoprune.pruning.pruned import Pruned
from isoprune.signals import Signals
from isoprune.types.method import method


@method("measure", "data", "labels", "gradients", source="Lanczos, 1950; Cohen et al., ICLR 2021")
def hessian_largest(
    pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = 64, steps: int = 10
) -> dict[str, float]:
    r"""Largest eigenvalue in magnitude of the Hessian of the mean loss: what bounds the learning rate.

    ``log_hessian_largest``, :math:`\log_{10} \max_i |\lambda_i|`, over the weights that retraining can
    change, in eval mode: the largest Ritz value after ``steps`` of Lanczos' iteration from the gradient (at
    random where that is zero), which is never above it.

    Cost: ``steps`` times a backward and a second backward of the samples. Memory: the graph of the gradient
    of all ``samples``, and ``steps`` vectors of the weights in float64.
    """
    hessian = Hessian(signals.taking(samples))
    start = hessian.gradient
    if not bool(start.any()):
        start = torch.randn(len(start), generator=generator, dtype=torch.float64).to(start.device)
    return {"log_hessian_largest": log10(float(ritz_values(hessian.times, start, steps).abs().max()))}
