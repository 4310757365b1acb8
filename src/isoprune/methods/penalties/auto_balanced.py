"""Auto-balanced pruning: what goes is pushed down, what stays is pulled up, in balance."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isoprune.graph import Graph
from isoprune.methods.penalties.growth import Growth
from isoprune.methods.penalties.layers import layers_of
from isoprune.methods.penalties.penalty import Penalty
from isoprune.types import IsopruneError, Plan
from isoprune.types.method import method


@method(
    "penalty",
    "plan",
    removes=True,
    grows=(("growth", "interval", "ceiling"),),
    grains=("channel", "head", "filter"),
    label="Auto-balanced",
    source="Ding, Ding, Han & Tang, AAAI 2018",
)
def auto_balanced(
    model: nn.Module,
    plan: Plan,
    *,
    graph: Graph,
    growth: float = 1e-4,
    interval: int = 10,
    ceiling: float = 1.0,
    stabilise: int = 10_000,
) -> Penalty:
    r"""Push the filters of ``plan`` down and pull the others up, so that both sums are equal in every layer.

    With M the L1 norm of a filter and :math:`\theta` the largest of those that go, of one layer

    .. math:: \alpha_t \Big(\sum_{j \in P} c_j \|W_j\|^2 + \tau \sum_{j \in R} c_j \|W_j\|^2\Big), \qquad
        c_j = \begin{cases} 1 + \log(\theta / M_j) & j \in P \\ -1 - \log(M_j / \theta) & j \in R \end{cases}

    and :math:`\tau` so that the two add up to zero. c and :math:`\tau` are constants to the gradient, made
    anew every ``interval`` steps; a filter that stays and is smaller than :math:`\theta` has c = -1, and one
    that is nearly zero is pushed as one of :math:`10^{-6} \theta`. :math:`\alpha` grows to ``ceiling`` as in
    `greg_1`, where theirs is constant.

    Cost: a pass over the weights a step. Memory: a number a filter.

    Raises:
        IsopruneError: For a plan whose units are not whole filters.
    """
    if plan and plan.grain not in ("channel", "head", "filter"):
        raise IsopruneError(
            f"auto_balanced pushes whole filters, and the plan is of {plan.grain}s. Take greg_1 for them."
        )
    grows = Growth(growth, interval, ceiling)
    layers = layers_of(model, graph, plan)
    rows = [(part, part.where(layers.goes).flatten()) for part in layers.weights]
    device = layers.zero.device
    state = {"last": torch.tensor(-1, device=device)}
    state |= {
        f"factors {i}": torch.zeros(len(mask), dtype=torch.float64, device=device)
        for i, (_, mask) in enumerate(rows)
    }

    def loss(step: int) -> Tensor:
        if step > state["last"] and (step % interval == 0 or state["last"] < 0):
            state["last"].fill_(step)
            for i, (part, mask) in enumerate(rows):
                state[f"factors {i}"].copy_(balanced_factors(part.matrix.detach(), mask))
        terms = [
            (state[f"factors {i}"].to(part.value.dtype) * part.matrix.square().sum(1)).sum()
            for i, (part, _) in enumerate(rows)
        ]
        return grows.at(step) * layers.total(terms)

    return Penalty(loss, steps=grows.steps + stabilise, state=state, plan=lambda: plan)


def balanced_factors(W: Tensor, gone: Tensor) -> Tensor:
    """Return the factor of every row's square, those of rows that stay times tau; of a zero layer zeros."""
    W = W.double()
    sizes, squares = W.abs().sum(1), W.square().sum(1)
    theta = sizes[gone].max() if bool(gone.any()) else sizes.new_zeros(())
    if not theta > 0:
        return torch.zeros_like(sizes)
    away = (sizes.clamp_min(1e-6 * theta) / theta).log()
    factors = torch.where(gone, 1 - away, -1 - away.clamp_min(0))
    down, up = (factors * squares)[gone].sum(), -(factors * squares)[~gone].sum()
    tau = down / up if up > 0 else torch.zeros_like(down)
    return torch.where(gone, factors, tau * factors)
