"""Network slimming: L1 on the scales of BatchNorm."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from isoprune.methods.penalties.penalty import Penalty
from isoprune.types import IsopruneError, Plan
from isoprune.types.method import method


@method("penalty", label="Slimming", source="Liu, Li, Shen, Huang, Yan & Zhang, ICCV 2017, arXiv 1708.06519")
def slimming(model: nn.Module, plan: Plan, *, strength: float = 1e-4) -> Penalty:
    r"""Press the scales of all BatchNorm layers towards zero: :math:`\lambda \sum |\gamma|`.

    Its gradient at zero is zero. A channel whose scale is small then goes by the size of its scale, all
    channels of the network competing. Theirs: 1e-4 (VGG), 1e-5 (ResNet, DenseNet).

    Cost: a pass over the scales a step. Memory: the absolute values of the scales.

    Raises:
        IsopruneError: If the network has no BatchNorm with a scale.
    """
    norms = scaled_norms(model, strength)

    def loss(_: int) -> Tensor:
        return strength * torch.stack([norm.weight.abs().sum() for norm in norms]).sum()

    return Penalty(loss)


def scaled_norms(model: nn.Module, strength: float) -> list[_BatchNorm]:
    """Return the BatchNorm layers that have scales.

    Raises:
        IsopruneError: If there is none, or ``strength`` is none.
    """
    if not strength > 0:
        raise IsopruneError(f"strength is {strength}. Give a number above 0, or leave the penalty out.")
    found = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.affine]
    if not found:
        raise IsopruneError(
            f"{type(model).__name__} has no BatchNorm with scales to press on. Take group_lasso for it."
        )
    return found
