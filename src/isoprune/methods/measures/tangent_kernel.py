"""The empirical tangent kernel: how fast and how evenly gradient descent can move the outputs."""

from __future__ import annotations

from torch import Generator

from isoprune import isometry
from isoprune.methods.measures.decades import log10
from isoprune.pruning.pruned import Pruned
from isoprune.signals import Signals, in_eval_mode
from isoprune.types.method import method
from isoprune.types.network import module_of


@method("measure", "data", "gradients", source="Jacot, Gabriel & Hongler, NeurIPS 2018")
def tangent_kernel(
    pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = 16
) -> dict[str, float]:
    r"""Trace and condition of :math:`\Theta = G G^\top`, :math:`G = \partial y / \partial \theta`.

    Rows of G are outputs of samples, its columns the weights that retraining can change; in eval mode.

    - ``log_tangent_trace``: :math:`\log_{10}` of the trace over the number of samples;
    - ``log_tangent_condition``: :math:`\log_{10}` of the largest over the smallest eigenvalue, which counts
      as at least eps of float32 of the largest.

    Cost: a backward of each sample for each output, and their products with each other.

    Memory: the gradients in float64, some tensors at a time where they take more than 1 GiB.
    """
    few, model = signals.taking(samples), module_of(signals.model)
    with in_eval_mode(model):
        theta = isometry.tangent_kernel(model, few.inputs(samples), memory=signals.memory)
    number = sum(map(signals.task.samples, few.data()))
    return {
        "log_tangent_trace": log10(float(theta.diagonal().sum()) / number),
        "log_tangent_condition": log10(isometry.kernel_condition(theta)),
    }
