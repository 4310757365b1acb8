"""Units that were requested to go and lost nothing: which, and why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from isoprune.graph import Graph
from isoprune.pruning.allocation import in_scope, ratios_of
from isoprune.pruning.grains import read_grain
from isoprune.types import IsopruneError, Plan, Units


@dataclass(frozen=True)
class Spared:
    """Units of which some could go and were requested to, and none went.

    Attributes:
        name: Of the units, as in ``graph.groups``.
        size: How many there are.
        reason: What kept them, in words that name the op and the module, or the option.
    """

    name: str
    size: int
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def spared_of(graph: Graph, plan: Plan) -> tuple[Spared, ...]:
    """Return the channels or heads that the request covers and the plan leaves whole; of masks none.

    What can never go is not among them: ``graph.frozen`` has it, with reasons.
    """
    return tuple(_spared(graph, plan)) if read_grain(plan.grain).whole else ()


def _spared(graph: Graph, plan: Plan) -> Iterator[Spared]:
    request = plan.request
    ratio = request.get("ratio", 0)
    groups = graph.groups if plan.grain == "channel" else graph.heads
    groups = in_scope(groups, request.get("scope", "all"))
    if isinstance(ratio, Mapping):
        try:
            requested = ratios_of(graph, groups, ratio)
        except IsopruneError:  # a pattern of a later round may name what only the smaller network's graph has
            return
    else:
        requested = {g.name: ratio for g in groups}
    for group in groups:
        if requested[group.name] and group.name not in plan.removed:
            yield Spared(group.name, group.size, _reason(graph, group, request))


def _reason(graph: Graph, group: Units, request: Mapping[str, Any]) -> str:
    step, floor = request.get("round_to", 1), request.get("floor", 1)
    if floor >= group.size:
        return f"floor={floor} keeps all of its {group.size}"
    if group.name in request.get("unscored", ()):
        return "the criterion has no scores for them"
    for constraint in (*graph.constraints, *graph.links):
        mine = [np.isin(row, graph.channels[group.name]).sum() for row in constraint.sets]
        if any(mine):
            odd = f", in steps of round_to={step}" if step > 1 else ""
            return (
                f"{constraint.where} keeps equally many in each of {len(mine)} sets of "
                f"{len(constraint.sets[0])}{odd}, and no smaller number fits all"
            )
    if step > 1 and math.ceil((group.size - 1) / step) * step >= group.size:
        return f"its {group.size} are kept in multiples of round_to={step}"
    if step > 1:
        return f"what the ratio leaves of its {group.size} is rounded up to a multiple of round_to={step}"
    if request.get("allocation") in ("global", "error"):
        return "its scores are above those of other groups"
    return "the ratio leaves all of them"
