"""The Hessian of the mean loss by the weights that retraining can change: its largest value, its trace."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Generator, Tensor

from isoprune.linalg.lanczos import ritz_values
from isoprune.methods.measures.decades import log10
from isoprune.methods.measures.free import flat, free_weights, unflat
from isoprune.pruning.pruned import Pruned
from isoprune.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.method import method


@dataclass(frozen=True)
class Hessian:
    """Of the mean loss over all data of ``signals``; vectors are flat, in float64."""

    signals: Signals

    @cached_property
    def free(self) -> dict[str, Tensor]:
        return free_weights(self.signals)

    @cached_property
    def size(self) -> int:
        return sum(int(kept.sum()) for kept in self.free.values())

    @cached_property
    def gradient(self) -> Tensor:
        return flat(self.signals.gradients, self.free)

    def times(self, vector: Tensor) -> Tensor:
        v = unflat(vector, self.free, self.signals.weights)
        return flat(self.signals.hessian(v), self.free)


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
