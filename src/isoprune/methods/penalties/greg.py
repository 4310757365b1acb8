"""Growing regularisation: an L2 penalty that grows until what goes has faded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from isoprune.graph import Graph
from isoprune.methods.penalties.growth import Growth
from isoprune.methods.penalties.layers import Layers, gone, layers_of
from isoprune.methods.penalties.penalty import Penalty
from isoprune.types import Plan
from isoprune.types.method import method
from isoprune.types.units import GRAINS

_MEMORY = 0.9  # of the mean of the ratio of kept to pruned weights
_NOT_YET = -1
_SOURCE = "Wang, Qin, Zhang & Fu, ICLR 2021, arXiv 2012.09243"


@method(
    "penalty",
    "plan",
    removes=True,
    grows=(("growth", "interval", "ceiling"),),
    grains=GRAINS,
    label="GReg-1",
    source=_SOURCE,
)
def greg_1(
    model: nn.Module,
    plan: Plan,
    *,
    graph: Graph,
    growth: float = 1e-4,
    interval: int = 10,
    ceiling: float = 1.0,
    stabilise: int = 10_000,
    enough: float = 1000.0,
) -> Penalty:
    r"""Fade the units of ``plan`` by an L2 penalty that grows: GReg-1.

    .. math:: \frac{r_t}{2} \sum_l \|W_P\|^2, \qquad r_t = \min(c, \delta \lfloor t / \tau \rfloor)

    Growth ends at the ceiling, or when in every layer the kept weights are ``enough`` times as large in the
    mean as those that go (a running mean with memory 0.9, looked at when the penalty grows). Biases and
    BatchNorm are left as they are.

    Constants are those of the public code for CIFAR.

    Cost: a pass over the weights a step. Memory: a bool a unit.
    """
    grows = Growth(growth, interval, ceiling)
    layers = layers_of(model, graph, plan)
    state = _state(layers)

    def loss(step: int) -> Tensor:
        _watch(layers, state, step, interval, enough)
        return grows.at(_grown(state, step)) / 2 * _squares(layers, layers.goes)

    return Penalty(loss, steps=grows.steps + stabilise, state=state, plan=lambda: plan)


@method(
    "penalty",
    "plan",
    removes=True,
    grows=(("pick_growth", "interval", "pick_ceiling"), ("growth", "interval", "ceiling")),
    grains=GRAINS,
    label="GReg-2",
    source=_SOURCE,
)
def greg_2(
    model: nn.Module,
    plan: Plan,
    *,
    graph: Graph,
    choose: Callable[[], Plan],
    growth: float = 1e-4,
    interval: int = 10,
    ceiling: float = 1.0,
    stabilise: int = 10_000,
    enough: float = 1000.0,
    pick_growth: float = 1e-5,
    pick_ceiling: float = 1e-2,
    recover: float = 1e-4,
) -> Penalty:
    r"""Press on all filters alike, choose those that gave way, and fade them: GReg-2.

    First :math:`\frac{r_t}{2} \sum_l \|W\|^2` with r growing by ``pick_growth`` up to ``pick_ceiling``: equal
    pressure spreads the filters apart by the curvature of the loss. Then ``choose()`` picks those of the
    lowest scores; from there on they are pressed as in `greg_1`, from ``pick_ceiling`` on, and the kept
    ones are let recover, :math:`-\frac{\epsilon}{2} \sum_l \|W_K\|^2`, until the growth is over.

    Args:
        plan: At the start: which layers lose filters, and how many.
        choose: Returns a plan by the weights that the network has when it is called.

    Cost: a pass over the weights a step, and the scores once. Memory: a bool a unit.
    """
    first, grows = Growth(pick_growth, interval, pick_ceiling), Growth(growth, interval, ceiling)
    start = pick_ceiling
    layers = layers_of(model, graph, plan)
    goes = {name: mask.zero_() for name, mask in layers.goes.items()}
    # A dot is no part of a buffer's name.
    state = _state(layers) | {f"gone {i}": mask for i, mask in enumerate(goes.values())}
    state["picked"] = torch.tensor(_NOT_YET, device=state["ended"].device)

    def loss(step: int) -> Tensor:
        if step < first.steps:
            return first.at(step) / 2 * _squares(layers, None)
        if state["picked"] == _NOT_YET:
            for name, mask in gone(model, graph, choose()).items():
                goes[name].copy_(mask)
            state["picked"].fill_(step)
        since = step - first.steps
        _watch(layers, state, since, interval, enough)
        strength = min(ceiling, start + grows.at(_grown(state, since)))
        kept = {name: ~mask for name, mask in goes.items()}
        free = 0.0 if state["ended"] != _NOT_YET or since >= grows.steps else recover
        return strength / 2 * _squares(layers, goes) - free / 2 * _squares(layers, kept)

    def current_plan() -> Plan:
        return replace(plan, kept={name: ~mask.cpu() for name, mask in goes.items()})

    return Penalty(loss, steps=first.steps + grows.steps + stabilise, state=state, plan=current_plan)


def _state(layers: Layers) -> dict[str, Tensor]:
    device = layers.zero.device
    return {
        "ratios": torch.zeros(len(layers.weights), dtype=torch.float64, device=device),
        "ended": torch.tensor(_NOT_YET, device=device),
    }


def _grown(state: dict[str, Tensor], step: int) -> int:
    """Return the step that the strength is that of: growth may have ended before."""
    ended = int(state["ended"])
    return step if ended == _NOT_YET else min(step, ended)


@torch.no_grad()
def _watch(layers: Layers, state: dict[str, Tensor], step: int, interval: int, enough: float) -> None:
    """Look, when the penalty grows, whether the kept weights are large enough against those that go."""
    if step % interval or state["ended"] != _NOT_YET or not len(layers.weights):
        return
    ratios = []
    for part in layers.weights:
        sizes, mask = part.value.abs().double(), part.where(layers.goes).expand(part.value.shape)
        ratios.append(sizes[~mask].mean() / sizes[mask].mean().clamp_min(torch.finfo(torch.float64).tiny))
    # Nothing kept or nothing gone in a layer: it has no ratio to wait for.
    found = torch.stack(ratios).nan_to_num(enough, posinf=torch.finfo(torch.float64).max)
    state["ratios"].copy_(found if step == 0 else _MEMORY * state["ratios"] + (1 - _MEMORY) * found)
    if bool((state["ratios"] >= enough).all()):
        state["ended"].fill_(step)


def _squares(layers: Layers, selected: dict[str, Tensor] | None) -> Tensor:
    """Return the sum of squares of the units that are ``selected``; of whole layers for None."""
    squares = [(part, part.value.square()) for part in layers.weights]
    return layers.total([(s if selected is None else s * part.where(selected)).sum() for part, s in squares])
