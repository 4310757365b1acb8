"""The Jacobian's singular values: how the network passes on small changes of its input."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from isoprune.isometry import jacobian_singular_values, summary
from isoprune.isometry.effort import BUDGET, SAMPLES, plan_effort
from isoprune.methods.measures.decades import log10
from isoprune.pruning.pruned import Pruned
from isoprune.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.method import method


@method("measure", "data", label="JSV", source="Wang, Qin, Bai & Fu, 2023, arXiv 2301.05219")
def jsv(
    pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = SAMPLES
) -> dict[str, float]:
    r"""Singular values :math:`\sigma` of :math:`J = \partial y / \partial x`: size, spread, distance to 1.

    Over all values of all samples, logarithms to base ten:

    - ``log_jsv_mean``: :math:`\log_{10}` of the mean of :math:`\sigma`, the source's number;
    - ``log_jsv_max``: :math:`\log_{10}` of the largest;
    - ``log_jsv_typical``: mean of :math:`\log_{10} \sigma`;
    - ``log_jsv_spread``: mean over samples of the standard deviation of :math:`\log_{10} \sigma`;
    - ``log_jsv_condition``: mean over samples of :math:`\log_{10} (\sigma_{max} / \sigma_{min})`;
    - ``jsv_distance``: mean of :math:`(\sigma - 1)^2`, the distance to isometry.

    Values below eps times the sample's largest count as that in typical, spread and condition. Exact; fewer
    samples where one alone takes long.

    Cost: a backward of the samples for each output. Memory: Jacobians [outputs, inputs] and the graphs of
    some samples at a time, within a quarter of the free memory.
    """
    sigma = singular_values(signals, samples)
    found = summary(sigma)
    s = sigma.double()
    floor = torch.finfo(sigma.dtype).eps * s.amax(1, keepdim=True)
    logs = s.clamp_min(floor).log10()
    return {
        "log_jsv_mean": log10(found["mean"]),
        "log_jsv_max": log10(found["max"]),
        "log_jsv_typical": float(logs.mean()),
        "log_jsv_spread": found["log_spread"],
        "log_jsv_condition": float((logs.amax(1) - logs.amin(1)).mean()),
        "jsv_distance": found["distance"],
    }


def singular_values(signals: Signals, samples: int) -> Tensor:
    """Return the exact values [samples, min(outputs, inputs)] of as many samples as ``BUDGET`` allows."""
    inputs = signals.inputs(samples)
    effort = plan_effort(signals.network, inputs, samples=samples)
    number = max(min(effort.samples, int(BUDGET / effort.exact)), 1)
    return jacobian_singular_values(signals.network, signals.inputs(number))


@method("measure", "data", "dense", source="Wang, Qin, Bai & Fu, 2023, arXiv 2301.05219")
def jsv_relative(
    pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = SAMPLES
) -> dict[str, float]:
    r"""Mean singular value over the dense network's, :math:`\bar\sigma / \bar\sigma_{dense}`.

    ``log_jsv_relative``, to base ten: 0 where pruning lost nothing, negative where signals got weaker.

    Cost: a backward of the samples for each output, through both networks. Memory: Jacobians [outputs,
    inputs] and the graphs of some samples at a time, within a quarter of the free memory.

    Raises:
        IsopruneError: If the dense network passes on nothing.
    """
    mine, dense = (
        float(singular_values(s, samples).double().mean()) for s in (signals, signals.of(pruned.dense))
    )
    if dense == 0:
        raise IsopruneError("jsv_relative is a part of the dense network's JSV, and these are all zero.")
    return {"log_jsv_relative": log10(mine / dense)}
