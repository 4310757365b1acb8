"""Scores and a ratio -> which units of single tensors, or which heads, stay; round after round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from isoprune.graph import Graph
from isoprune.pruning.allocation import (
    Number,
    Ratio,
    check_ratio,
    check_scores,
    check_some_score,
    ratios_of,
    removed_of,
)
from isoprune.pruning.erdos_renyi import erk
from isoprune.pruning.grains import Grain, weights_of
from isoprune.types import IsopruneError, Plan, Scores, Units
from isoprune.types.errors import check_known


def plan_units(
    graph: Graph,
    units: Sequence[Units],
    scores: Scores,
    *,
    grain: Grain,
    ratio: Ratio | None,
    allocation: str = "uniform",
    floor: int = 1,
    before: Plan | None = None,
) -> Plan:
    """Return the plan that removes ``ratio`` of the units that are left, those with the lowest scores.

    Args:
        units: At ``grain``, as from `units_of`.
        ratio: Fraction of the units of every tensor that ``before`` keeps, rounded up; or name patterns ->
            fractions. None with n:m, whose numbers say it.
        allocation: "uniform"; "global": all units compete by their scores as they are, as SNIP's and
            magnitude's do; or "erk": each tensor keeps so many as `erk` gives it.
        floor: No tensor keeps fewer units than this, as far as it had so many.
        before: What earlier rounds kept; what they removed stays away.

    Returns:
        The plan of all rounds together.

    Raises:
        IsopruneError: Bad options, scores that do not fit.
    """
    check_known(allocation, ("uniform", "global", "erk"), "allocation")
    check_scores(units, scores)
    alive = {
        u.name: torch.ones(u.shape, dtype=torch.bool)
        if before is None or u.name not in before.kept
        else before.kept[u.name].clone()
        for u in units
    }
    if grain.name == "n:m":
        kept = _n_of_m(graph, scores, alive, grain)
    elif ratio is None:
        raise IsopruneError(f"Units of grain {grain} need a ratio: the fraction of them that goes.")
    elif allocation == "uniform" or isinstance(ratio, Mapping):
        kept = _per_tensor(graph, units, scores, alive, ratio, floor)
    elif allocation == "global":
        kept = _over_all(scores, alive, ratio, floor)
    else:
        kept = _by_shapes(graph, scores, alive, ratio, floor)
    request = {"ratio": dict(ratio) if isinstance(ratio, Mapping) else ratio, "grain": str(grain)}
    kept = {name: mask for name, mask in kept.items() if not bool(mask.all())}
    return Plan(kept, str(grain), {**request, "allocation": allocation, "floor": floor})


def _per_tensor(
    graph: Graph,
    units: Sequence[Units],
    scores: Scores,
    alive: Mapping[str, Tensor],
    ratio: Ratio,
    floor: int,
) -> dict[str, Tensor]:
    kept = {}
    for name, one in ratios_of(graph, units, ratio).items():
        left = int(alive[name].sum())
        goes = min(removed_of(left, one), max(left - floor, 0)) if left else 0
        if goes:
            check_some_score(name, scores[name][alive[name].to(scores[name].device)])
        kept[name] = alive[name] & ~_lowest(scores[name], alive[name], goes)
    return kept


def _over_all(scores: Scores, alive: Mapping[str, Tensor], ratio: Number, floor: int) -> dict[str, Tensor]:
    """Let all units compete; the best ``floor`` of each tensor do not."""
    check_ratio(ratio)
    for name, mask in alive.items():
        if ratio and int(mask.sum()) > floor:
            check_some_score(name, scores[name][mask.to(scores[name].device)])
    best = {name: -scores[name].double() for name in alive}
    spared = {name: _lowest(best[name], mask, min(floor, int(mask.sum()))) for name, mask in alive.items()}
    names = list(alive)
    flat = torch.cat([scores[name].double().flatten() for name in names])
    free = torch.cat([(alive[name] & ~spared[name]).flatten() for name in names])
    total = sum(int(mask.sum()) for mask in alive.values())
    goes = _lowest(flat, free, min(removed_of(total, ratio), int(free.sum())))
    parts = goes.split([alive[name].numel() for name in names])
    return {n: alive[n] & ~part.reshape(alive[n].shape) for n, part in zip(names, parts, strict=True)}


def _by_shapes(
    graph: Graph, scores: Scores, alive: Mapping[str, Tensor], ratio: Number, floor: int
) -> dict[str, Tensor]:
    check_ratio(ratio)
    shapes = {name: tuple(shape) for name, shape, _ in weights_of(graph) if name in alive}
    sizes = {name: mask.numel() for name, mask in alive.items()}
    left = {name: int(mask.sum()) for name, mask in alive.items()}
    total = sum(left.values())
    keep = erk(shapes, sizes, left, total - removed_of(total, ratio))
    kept = {}
    for name, mask in alive.items():
        goes = left[name] - max(keep[name], min(floor, left[name]))
        if goes:
            check_some_score(name, scores[name][mask.to(scores[name].device)])
        kept[name] = mask & ~_lowest(scores[name], mask, goes)
    return kept


def _lowest(scores: Tensor, among: Tensor, number: int) -> Tensor:
    """Return which ``number`` units ``among`` these have the lowest scores (bool); of equals the last go."""
    chosen = torch.zeros(among.shape, dtype=torch.bool)
    if not number:
        return chosen
    values = scores.detach().double().cpu().flatten()[among.flatten()]
    edge = values.kthvalue(number).values
    goes = values < edge
    equal = (values == edge).nonzero().flatten()
    goes[equal[len(equal) - (number - int(goes.sum())) :]] = True
    flat = chosen.view(-1)
    flat[among.flatten()] = goes
    return chosen


def _n_of_m(graph: Graph, scores: Scores, alive: Mapping[str, Tensor], grain: Grain) -> dict[str, Tensor]:
    """Keep the best n of every m neighbours along the input; what is left over at the end keeps n at most."""
    n, m = grain.numbers
    kept = {}
    for name, shape, out in weights_of(graph):
        s = scores[name].detach().double().cpu().masked_fill(~alive[name], -torch.inf)
        rows = s.movedim(1 - out, -1)  # the input's dimension last
        padded = torch.nn.functional.pad(rows, (0, -rows.shape[-1] % m), value=-torch.inf)
        groups = padded.unflatten(-1, (-1, m))
        best = groups.argsort(dim=-1, descending=True, stable=True)[..., :n]
        stays = torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, best, True)
        back = stays.flatten(-2)[..., : rows.shape[-1]].movedim(-1, 1 - out)
        kept[name] = back.reshape(shape) & alive[name]
    return kept
