"""How alike two kernels between samples are, and the tangent kernel as one."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from isoprune.isometry import output_mean_kernel
from isoprune.signals import Signals, in_eval_mode
from isoprune.types import IsopruneError
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
