"""Incremental regularisation: each group's own factor, grown or shrunk by its rank."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isoprune.graph import Graph
from isoprune.methods.penalties.growth import Growth
from isoprune.methods.penalties.layers import layers_of
from isoprune.methods.penalties.penalty import Penalty
from isoprune.pruning.plan import plan_of_same_numbers
from isoprune.types import Plan
from isoprune.types.method import method


@method(
    "penalty",
    "plan",
    removes=True,
    grows=(("growth", "interval", "ceiling"),),
    grains=("channel", "filter", "kernel", "vector", "weight", "block"),
    label="IncReg",
    source="Wang, Zhang, Wang, Yu & Hu, IEEE J-STSP 2019, arXiv 1804.09461",
)
def increg(
    model: nn.Module,
    plan: Plan,
    *,
    graph: Graph,
    growth: float = 2.5e-4,
    interval: int = 10,
    ceiling: float = 1.0,
    stabilise: int = 10_000,
) -> Penalty:
    r"""Grow a factor for each unit by its rank, and shrink it again where the unit recovers: IncReg.

    .. math:: \tfrac{1}{2} \sum_g \lambda_g \|W_g\|^2, \qquad
        \lambda_g \leftarrow \min(c, \max(0, \lambda_g + \Delta(r_g)))

    Every ``interval`` steps. r is the rank of a unit's L1 norm among those of its name, 0 the smallest, as a
    mean over all updates so far. For N units of which n are to go, :math:`\Delta` falls in a straight line
    from A (``growth``) at r = 0 to 0 at r = n, and on to -A at the last one, r = N - 1. The n with the lowest
    mean ranks go.

    The plan says how many go, the ranks which. Theirs sets A to half of the weight decay.

    Cost: a pass over the weights a step, a sort of the units an update. Memory: two numbers a unit.

    Raises:
        IsopruneError: If what goes cannot be made of these strengths; see `Growth`.
    """
    grows = Growth(growth, interval, ceiling)
    layers = layers_of(model, graph, plan)
    goes, device = layers.goes, layers.zero.device
    names = [name for name, mask in goes.items() if bool(mask.any())]
    state = {
        "updates": torch.zeros((), dtype=torch.long, device=device),
        "last": torch.tensor(0, device=device),
    }
    for i, name in enumerate(names):
        state |= {
            f"{what} {i}": torch.zeros(goes[name].numel(), dtype=torch.float64, device=device)
            for what in ("factors", "ranks")
        }

    @torch.no_grad()
    def update() -> None:
        sizes = {name: torch.zeros(goes[name].numel(), dtype=torch.float64, device=device) for name in names}
        for part in layers.weights:
            part.add_to_(sizes, part.value.abs().double())
        state["updates"] += 1
        for i, name in enumerate(names):
            order = sizes[name].argsort(stable=True)
            ranks = torch.empty_like(sizes[name])
            ranks[order] = torch.arange(len(order), dtype=torch.float64, device=device)
            state[f"ranks {i}"] += ranks
            mean = state[f"ranks {i}"] / state["updates"]
            change = rank_change(mean, int(goes[name].sum()), growth)
            state[f"factors {i}"].add_(change).clamp_(0, ceiling)

    def loss(step: int) -> Tensor:
        if step > state["last"] and step % interval == 0:
            state["last"].fill_(step)
            update()
        factors = {name: state[f"factors {i}"].to(layers.zero) for i, name in enumerate(names)}
        return layers.total([(p.spread(factors) * p.value.square()).sum() for p in layers.weights]) / 2

    def current_plan() -> Plan:
        ranks = {name: state[f"ranks {i}"].cpu() for i, name in enumerate(names)}
        if plan.grain == "channel":
            scores = {g.name: ranks.get(g.name, torch.ones(g.size)).reshape(g.shape) for g in graph.groups}
            return plan_of_same_numbers(graph, scores, plan)
        kept = {}
        for name in names:
            flat = torch.ones(goes[name].numel(), dtype=torch.bool)
            flat[ranks[name].argsort(stable=True)[: int(goes[name].sum())]] = False
            kept[name] = flat.reshape(goes[name].shape)
        return Plan(kept, plan.grain, plan.request)

    return Penalty(loss, steps=grows.steps + stabilise, state=state, plan=current_plan)


def rank_change(ranks: Tensor, number: int, growth: float) -> Tensor:
    """Return how much each factor changes: ``growth`` at rank 0, 0 at ``number``, -``growth`` at the last."""
    last = max(len(ranks) - 1 - number, 1)
    return growth * torch.where(ranks <= number, 1 - ranks / max(number, 1), -(ranks - number) / last)
