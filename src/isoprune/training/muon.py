"""Steps whose directions all have the same length: momentum with its singular values made one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from isoprune.linalg import nearly_orthogonal
from isoprune.types import IsopruneError

_ROWS = 128  # of a large matrix so many at once: the cost then grows with its size, not with a power of it


class Muon(Optimizer):
    r"""Muon: each step moves a weight by its momentum with singular values near one, times the rate.

    With :math:`M \leftarrow \mu M + G` and Nesterov's :math:`G + \mu M = U \Sigma V^\top` the step is
    :math:`-\text{lr} \sqrt{\max(m, n)}\, U V^\top`, whose elements have the root mean square lr. A weight is
    a matrix with one filter a row, and of more than 128 rows several; a bias is a matrix of one column, whose
    step has the direction of its momentum.

    Args:
        parameters: What is trained; a parameter without a gradient stays.
        lr: Root mean square of the elements' change in a step, whatever the size of the gradient.
        momentum: :math:`\mu`.

    Raises:
        IsopruneError: If the rate is below zero, or the momentum outside [0, 1).

    Cost: per step and weight 5 iterations of three products of at most 128 rows. Memory: the momentum.

    Source: Jordan et al., 2024 (Muon); Liu et al., 2025, arXiv 2502.16982 (the size of its elements).
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, lr: float = 6e-4, momentum: float = 0.95
    ) -> None:
        if not (lr >= 0 and 0 <= momentum < 1):
            raise IsopruneError(
                f"lr = {lr} and momentum = {momentum}: give a rate of 0 or more and a momentum in [0, 1)."
            )
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take a step."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                kept = state["momentum"]
                kept.mul_(group["momentum"]).add_(weight.grad)
                ahead = weight.grad.add(kept, alpha=group["momentum"])
                weight.sub_(_direction(ahead), alpha=group["lr"])
        return loss


def _direction(momentum: Tensor) -> Tensor:
    if not momentum.numel():
        return momentum
    rows = momentum.reshape(len(momentum) if momentum.dim() else 1, -1)
    parts = rows.chunk(math.ceil(len(rows) / _ROWS))
    return torch.cat([nearly_orthogonal(p) * max(p.shape) ** 0.5 for p in parts]).view_as(momentum)
