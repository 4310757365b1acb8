"""The empirical tangent kernel: its spectrum, and how alike it is to that of labels and the dense network."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn.functional import one_hot

from isoprune import isometry
from isoprune.isometry import output_mean_kernel
from isoprune.methods.measures.decades import log10
from isoprune.methods.measures.labels import class_labels
from isoprune.pruning.pruned import Pruned
from isoprune.signals import Signals, in_eval_mode
from isoprune.types import IsopruneError
from isoprune.types.method import method
from isoprune.types.network import module_of


def alignment(K: Float[Tensor, "samples samples"], L: Float[Tensor, "samples samples"]) -> float:
    r"""Return the centred alignment :math:`\langle K_c, L_c \rangle_F / (\|K_c\|_F \|L_c\|_F)`, in [0, 1].

    :math:`K_c = H K H`, :math:`H = I - \frac{1}{n} \mathbf{1} \mathbf{1}^\top`. K and L positive
    semidefinite. Source: Cortes, Mohri & Rostamizadeh, JMLR 2012.

    Raises:
        IsopruneError: If one of them does not tell samples apart.
    """
    centred = [A - A.mean(0) - A.mean(1, keepdim=True) + A.mean() for A in (K.double(), L.double())]
    sizes = [float(A.norm()) for A in centred]
    rounding = len(K) * torch.finfo(torch.float64).eps
    if any(not size > rounding * float(A.norm()) for size, A in zip(sizes, (K, L), strict=True)):
        raise IsopruneError(
            "Kernels are aligned by how they tell samples apart, and one of them gives all samples the same."
        )
    return float((centred[0] * centred[1]).sum()) / (sizes[0] * sizes[1])


def sample_kernel(signals: Signals, samples: int) -> Float[Tensor, "samples samples"]:
    """Return the tangent kernel between samples, the mean over outputs: see `output_mean_kernel`."""
    with in_eval_mode(model := module_of(signals.model)):
        return output_mean_kernel(model, signals.inputs(samples), memory=signals.memory)


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


@method("measure", "data", "labels", "gradients", source="Cortes, Mohri & Rostamizadeh, JMLR 2012")
def tangent_labels(
    pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = 64
) -> dict[str, float]:
    r"""Centred alignment of the tangent kernel with the labels' :math:`Y Y^\top`: what is learned first.

    ``tangent_label_alignment``, in [0, 1]. The kernel between samples is the mean over outputs c of
    :math:`G_c G_c^\top`, :math:`G_c = \partial y_c / \partial \theta`; Y are the labels, one-hot.

    Cost: a backward of each sample for each output.

    Memory: the gradients in float64, some tensors at a time where they take more than 1 GiB.

    Raises:
        IsopruneError: If the labels are no classes, or all of one.
    """
    few = signals.taking(samples)
    Y = one_hot(class_labels(few)).double()
    return {"tangent_label_alignment": alignment(sample_kernel(few, samples), Y @ Y.mT)}


@method(
    "measure",
    "data",
    "dense",
    "gradients",
    source="Cortes, Mohri & Rostamizadeh, JMLR 2012; Liu & Zenke, ICML 2020",
)
def tangent_dense(
    pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = 32
) -> dict[str, float]:
    r"""Centred alignment of the tangent kernel with the dense network's: whether both learn alike.

    ``tangent_dense_alignment``, in [0, 1]. The kernels between samples are those of `tangent_labels`.

    Cost: a backward of each sample for each output, through both networks.

    Memory: the gradients in float64, some tensors at a time where they take more than 1 GiB.
    """
    few = signals.taking(samples)
    mine, dense = sample_kernel(few, samples), sample_kernel(few.of(pruned.dense), samples)
    return {"tangent_dense_alignment": alignment(mine, dense)}
