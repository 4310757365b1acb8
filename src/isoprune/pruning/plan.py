"""Scores and a ratio -> the plan: which channels of which group go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from isoprune.graph import Constraint, Graph
from isoprune.pruning import costs
from isoprune.pruning.allocation import (
    CAP,
    Number,
    Ratio,
    check_scores,
    check_some_score,
    global_ranking,
    in_scope,
    ratios_of,
    removed_of,
)
from isoprune.pruning.choose import choose
from isoprune.types import IsopruneError, Plan, Scores, Units
from isoprune.types.errors import check_known


def make_plan(
    graph: Graph,
    scores: Scores,
    *,
    ratio: Ratio,
    allocation: str = "uniform",
    scope: str = "all",
    round_to: int = 1,
    floor: int = 1,
    cap: Number = CAP,
    links: Sequence[Constraint] = (),
    per: Mapping[str, float] | None = None,
) -> Plan:
    """Return the plan that removes ``ratio`` of the channels with the lowest scores.

    Args:
        graph: From `trace`.
        scores: One number per channel of every group; high stays. Groups without scores stay whole where
            others compete; else their ratio must be 0.
        ratio: Fraction removed of every group (``ceil(ratio * channels)``, never the last one), or a
            mapping of name patterns to fractions, of which the last match wins.
        allocation: "uniform", or all channels compete: "global", by score over the mean of their group, or
            "error", by score over cost, for scores that are rises of one error.
        scope: "all", or "internal": only channels that a single layer makes.
        round_to: Kept channels are rounded up to a multiple of this (8 suits most hardware).
        floor: No group keeps fewer channels than this, as far as it had so many.
        cap: Where all compete, the largest fraction that any group loses.
        links: Further sets of channels that must keep equally many.
        per: Where all compete, what the scores of each group are divided by: with "error" what a channel
            costs (see `cost_of_one`), 1 for scores that are comparable; None: their mean.

    Raises:
        IsopruneError: Ratio outside [0, 1), unknown option, a pattern without a match, scores that
            do not fit.
    """
    if allocation == "erk":
        raise IsopruneError(
            "The allocation 'erk' goes by the shapes of single tensors, and channels are of several. Take "
            "grain='weight' (or filter, kernel, ...), or let channels compete: allocation='global'."
        )
    check_known(allocation, ("uniform", "global", "error"), "allocation")
    groups = in_scope(graph.groups, scope)
    request: dict[str, Any] = {"ratio": dict(ratio) if isinstance(ratio, Mapping) else ratio}
    if allocation == "uniform" or isinstance(ratio, Mapping):
        ratios = ratios_of(graph, groups, ratio)
        keep = {g.name: g.size - removed_of(g.size, ratios[g.name]) for g in groups}
        cut = [g for g in groups if keep[g.name] < g.size]
        check_scores([g for g in graph.groups if g.name in {*scores, *(c.name for c in cut)}], scores)
        for g in cut:
            check_some_score(g.name, scores[g.name])
    else:
        if unscored := [g.name for g in groups if g.name not in scores]:
            request["unscored"] = unscored
        groups = [g for g in groups if g.name in scores]
        check_scores(groups, scores)
        for g in groups if ratio else ():
            check_some_score(g.name, scores[g.name])
        keep = global_ranking(groups, scores, ratio, cap=cap, per=per)
    for name, number in (("round_to", round_to), ("floor", floor)):
        if number < 1:
            raise IsopruneError(f"{name} is {number}, not a positive number of channels. Use 1 for none.")
    keep = {g.name: max(keep[g.name], min(floor, g.size)) for g in groups}
    everything = {g.name: g.size for g in graph.groups} | keep
    equal = {g.name: torch.zeros(g.shape) for g in graph.groups if g.name not in scores}
    removed = choose(graph, {**equal, **scores}, everything, round_to=round_to, floor=floor, links=links)
    options = {"allocation": allocation, "scope": scope, "round_to": round_to, "floor": floor}
    return graph.removing(removed, **request, **options)


def plan_of_same_numbers(
    graph: Graph,
    scores: Scores,
    plan: Plan,
    *,
    round_to: int = 1,
    floor: int = 1,
    links: Sequence[Constraint] = (),
) -> Plan:
    """Return the plan that keeps as many channels of every group as ``plan`` does, chosen by these scores."""
    check_scores(graph.groups, scores)
    keep = numbers_kept(graph.groups, plan)
    removed = choose(graph, scores, keep, round_to=round_to, floor=floor, links=links)
    return graph.removing(removed, **plan.request)


def numbers_kept(units: Sequence[Units], plan: Plan) -> dict[str, int]:
    """Return how many units of each name a plan keeps."""
    return {u.name: int(plan.kept[u.name].sum()) if u.name in plan.kept else u.size for u in units}


def plan_for_target(
    make: Callable[[float], Plan], cost: Callable[[Plan], float], target: Number, *, what: str
) -> Plan:
    """Return the plan of the smallest ratio whose cost is at most ``target`` of the dense network's.

    The ratio is found by bisection; cost falls as it rises. ``target`` is the fraction that *stays*.

    Raises:
        IsopruneError: If even a ratio of 0.98 costs more.
    """
    if isinstance(target, bool) or not 0 < target <= 1:
        raise IsopruneError(
            f"{what} is {target!r}, not a number in (0, 1]. It is the fraction that may stay: "
            f"0.5 halves the {what}."
        )
    low, high = 0.0, 0.98
    # Bisection comes near its lower end and not to it, and all may stay.
    best = make(low if target == 1 else high)
    if cost(best) > target:
        raise IsopruneError(
            f"No plan brings {what} to {target:g} of the dense network: {cost(best):.3g} is left when "
            "0.98 of all channels that can go are gone. Ask for more, widen scope, or raise cap where they "
            "compete."
        )
    for _ in range(0 if target == 1 else 9):
        middle = (low + high) / 2
        plan = make(middle)
        if cost(plan) <= target:
            high, best = middle, plan
        else:
            low = middle
    return replace(best, request={**best.request, what: target})


def cost_of_one(graph: Graph, model: nn.Module, what: str) -> dict[str, float]:
    """Return the share of FLOPs or parameters that one channel of each group costs, on average."""
    left = share(graph, model, what)
    costs_of_most = {g.name: 1 - left(graph.removing({g.name: range(g.size - 1)})) for g in graph.groups}
    return {g.name: max(costs_of_most[g.name] / (g.size - 1), 1e-12) for g in graph.groups}


def share(graph: Graph, model: nn.Module, what: str) -> Callable[[Plan], float]:
    """Return the function plan -> fraction of the dense network's FLOPs or parameters that stays."""

    def total(plan: Plan) -> int:
        kept = graph.kept_ids(plan)
        return costs.flops(graph, kept) if what == "flops" else costs.parameters(graph, kept, model)

    dense = total(Plan())
    return lambda plan: total(plan) / dense
