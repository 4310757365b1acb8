"""Sparse structure selection: L1 on scaling factors by accelerated proximal gradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isoprune.methods.penalties.penalty import Penalty
from isoprune.methods.penalties.slimming import scaled_norms
from isoprune.types import IsopruneError, Plan
from isoprune.types.method import method


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
    held: list[
        tuple[Tensor, Tensor]
    ] = []  # scales and gradients, from before the optimizer's step to after it

    def loss(_: int) -> Tensor:
        pairs = [(norm.weight.detach(), norm.weight.grad) for norm in norms]
        held[:] = [(scale.clone(), gradient.clone()) for scale, gradient in pairs if gradient is not None]
        return torch.stack([0 * norm.weight.sum() for norm in norms]).sum()

    @torch.no_grad()
    def after(_: int, lr: float) -> None:
        learning = [(norm, state[f"v {i}"]) for i, norm in enumerate(norms) if norm.weight.grad is not None]
        for (norm, v), (before, gradient) in zip(learning, held, strict=True):
            s = soft_threshold(before - lr * gradient, lr * strength)
            v.copy_(s - before + momentum * v)
            norm.weight.copy_(s + momentum * v)

    return Penalty(loss, after=after, state=state)


def soft_threshold(z: Tensor, t: float) -> Tensor:
    r"""Return :math:`\arg\min_x \tfrac{1}{2}\|x - z\|^2 + t \|x\|_1`."""
    return z.sign() * (z.abs() - t).clamp_min(0)
