"""The trace of the Hessian, by Hutchinson's estimate."""

from __future__ import annotations

import torch
from torch import Generator

from isoprune.methods.measures.decades import log10
from isoprune.methods.measures.hessian import Hessian
from isoprune.pruning.pruned import Pruned
from isoprune.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.method import method


@method(
    "measure",
    "data",
    "labels",
    "gradients",
    follows_order=False,
    source="Hutchinson, 1990; Yao, Gholami, Keutzer & Mahoney, 2020",
)
def hessian_trace(
    pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = 64, draws: int = 8
) -> dict[str, float]:
    r"""Trace of the Hessian of the mean loss: the mean of :math:`v^\top H v` over signs v at random.

    ``log_hessian_trace``, to base ten, over the weights that retraining can change, in eval mode. An estimate
    of variance :math:`2 (\|H\|_F^2 - \sum_i H_{ii}^2)` over ``draws``. A trace that is estimated as negative
    has no logarithm: None.

    Cost: ``draws`` times a backward and a second backward of the samples. Memory: the graph of the gradient
    of all ``samples``, and some vectors of the weights in float64.
    """
    if draws < 1:
        raise IsopruneError(f"draws = {draws} of hessian_trace; give 1 or more.")
    hessian = Hessian(signals.taking(samples))
    total = 0.0
    for _ in range(draws):
        signs = torch.randint(0, 2, (hessian.size,), generator=generator).double() * 2 - 1
        v = signs.to(signals.device)
        total += float(v @ hessian.times(v))
    return {"log_hessian_trace": log10(total / draws)}
