"""Sparse scales of BatchNorm: by L1 in the loss (slimming), by proximal steps (structure selection)."""

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


@method("penalty", label="SSS", source="Huang & Wang, ECCV 2018, arXiv 1707.01213")
def sss(model: nn.Module, plan: Plan, *, strength: float = 1e-4, momentum: float = 0.9) -> Penalty:
    r"""Make scales of BatchNorm exactly zero, by proximal steps in place of the optimizer's on them.

    With g the gradient of the task's loss and :math:`\eta` the rate of the step, for all scales
    :math:`\gamma`, the momentum folded in:

    .. math:: s = S_{\eta\lambda}(\gamma - \eta g), \qquad v \leftarrow s - \gamma + \mu v, \qquad
        \gamma \leftarrow s + \mu v

    :math:`S_t(z) = \mathrm{sign}(z) \max(|z| - t, 0)` is the proximal step of :math:`t \|\cdot\|_1`. What the
    optimizer (its momentum, weight decay and clipping) did to the scales is undone. Theirs also puts factors
    on groups and blocks; a scale of BatchNorm is the factor of a channel, before its shift. No term is added
    to the loss: its column shows 0.

    Cost: a pass over the scales a step. Memory: three copies of the scales.

    Raises:
        IsopruneError: If the network has no BatchNorm with a scale.
    """
    norms = scaled_norms(model, strength)
    if not 0 <= momentum < 1:
        raise IsopruneError(f"momentum is {momentum}. Give a number in [0, 1).")
    state = {f"v {i}": torch.zeros_like(norm.weight) for i, norm in enumerate(norms)}
    before_step: list[
        tuple[Tensor, Tensor]
    ] = []  # scales and gradients, from before the optimizer's step to after it

    def loss(_: int) -> Tensor:
        pairs = [(norm.weight.detach(), norm.weight.grad) for norm in norms]
        before_step[:] = [
            (scale.clone(), gradient.clone()) for scale, gradient in pairs if gradient is not None
        ]
        return torch.stack([0 * norm.weight.sum() for norm in norms]).sum()

    @torch.no_grad()
    def after(_: int, lr: float) -> None:
        learning = [(norm, state[f"v {i}"]) for i, norm in enumerate(norms) if norm.weight.grad is not None]
        for (norm, v), (before, gradient) in zip(learning, before_step, strict=True):
            s = soft_threshold(before - lr * gradient, lr * strength)
            v.copy_(s - before + momentum * v)
            norm.weight.copy_(s + momentum * v)

    return Penalty(loss, after=after, state=state)


def soft_threshold(z: Tensor, t: float) -> Tensor:
    r"""Return :math:`\arg\min_x \tfrac{1}{2}\|x - z\|^2 + t \|x\|_1`."""
    return z.sign() * (z.abs() - t).clamp_min(0)
