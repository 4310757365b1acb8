"""A requested plan -> a smaller network, proven; channels that cannot go are put back and reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from isoprune.graph import Constraint, Graph
from isoprune.graph.groups import build
from isoprune.graph.isolation import isolated
from isoprune.graph.recording import Node
from isoprune.pruning.choose import clusters
from isoprune.pruning.costs import costs_of
from isoprune.pruning.discrepancy import NotFinite, WrongNetwork
from isoprune.pruning.drift import Drift
from isoprune.pruning.pruned import Pruned
from isoprune.pruning.rehearsal import Misfit, Rehearsal, rehearse
from isoprune.pruning.shrink import outline, shrink
from isoprune.pruning.spared import spared_of
from isoprune.pruning.verify import verify
from isoprune.types import IsopruneError, Plan
from isoprune.types.collector import uncollected

Planner = Callable[[Graph, tuple[Constraint, ...]], Plan]


class NothingRemoved(IsopruneError):
    """Pruning was requested and nothing could go: an error, not a success without effect."""


@dataclass(frozen=True)
class Settled:
    """A plan whose shapes fit, the graph that it is of, and what had to be put back for it."""

    plan: Plan
    graph: Graph
    drifts: Sequence[Drift]  # scales that must be made up for
    active: tuple[Constraint, ...]  # links that were needed
    attempts: tuple[str, ...]


def settle(model: nn.Module, graph: Graph, planner: Planner) -> Settled:
    """Return the plan of ``planner``, as far as its shapes fit.

    The plan's shapes are tried without computing anything; an operation that does not fit (a size written
    into the forward) freezes the channels it touches, and the rest is planned anew.

    Raises:
        WrongNetwork: If no plan fits.
    """
    attempts: list[str] = []
    active: tuple[Constraint, ...] = ()
    tried: _Tried = {}
    for _ in range(200):
        plan = planner(graph, active)
        rehearsal = _rehearsed(model, graph, plan)
        if rehearsal.misfit is None:
            settled = Settled(plan, graph, rehearsal.drifts, active, tuple(attempts))
            return _loosened(model, planner, settled) if active and spared_of(graph, plan) else settled
        attempts.append(str(rehearsal.misfit))
        active, graph = _put_back(model, graph, plan, active, tried, rehearsal.misfit)
    raise WrongNetwork(f"The sizes of a smaller network never fitted; last: {attempts[-1]}.")


def _rehearsed(model: nn.Module, graph: Graph, plan: Plan) -> Rehearsal:
    with uncollected():
        return rehearse(outline(model, graph, plan), graph, graph.kept_ids(plan))


_MOST_LOOSENED = 16  # links tried without; each takes a rehearsal


def _loosened(model: nn.Module, planner: Planner, settled: Settled) -> Settled:
    """Return what fits without links that keep whole groups for nothing: all of these, else one by one."""
    graph = settled.graph
    spared = np.concatenate([graph.channels[s.name] for s in spared_of(graph, settled.plan)])
    doubtful = [one for one in settled.active if any(np.isin(row, spared).any() for row in one.sets)]
    trials = [doubtful, *([one] for one in doubtful[:_MOST_LOOSENED])]
    for without in trials if len(doubtful) > 1 else trials[:1]:
        dropped = {id(one) for one in without}
        kept = tuple(one for one in settled.active if id(one) not in dropped)
        if len(kept) == len(settled.active):
            continue
        plan = planner(graph, kept)
        rehearsal = _rehearsed(model, graph, plan)
        if rehearsal.misfit is None:
            settled = replace(settled, plan=plan, drifts=rehearsal.drifts, active=kept)
            if without is doubtful:
                break
    return settled


@isolated()
def prune_by(model: nn.Module, example_inputs: Any, graph: Graph, planner: Planner) -> Pruned:
    """Return the network pruned by the plan of ``planner``, as far as it can be proven.

    A plan whose shapes fit is made real and compared with the dense network. What cannot be proven is put
    back, frozen and reported.

    Raises:
        NothingRemoved: If nothing could be removed though something was asked for.
        WrongNetwork: If no part of the plan can be proven.
    """
    tried: tuple[str, ...] = ()
    while True:
        settled = settle(model, graph, planner)
        plan, graph = settled.plan, settled.graph
        tried += settled.attempts
        if not plan and _asks(plan):
            raise _nothing(model, graph, plan)
        small = shrink(model, graph, plan, drifts=settled.drifts)
        try:
            proof = verify(model, small, graph, plan, example_inputs, drifts=settled.drifts)
        except NotFinite:
            raise
        except WrongNetwork as error:
            proves = partial(_proves, model, example_inputs, graph)
            guilty = _culprits(graph, plan, settled.active, proves)
            if not guilty:
                raise
            stuck = [(graph.ids_of(name), name) for name in guilty]
            for ids, name in stuck:
                graph = graph.refreeze(ids, f"{name} could not be proven: {error}")
        else:
            costs = costs_of(model, small, graph, plan)
            history = ({"step": "prune", "grain": plan.grain, "request": dict(plan.request)},)
            return Pruned(small, model, plan, graph, proof, costs, history, example_inputs, tried)


def _nothing(model: nn.Module, graph: Graph, plan: Plan) -> NothingRemoved:
    found = [*(f.reason for f in graph.frozen), *(reason for _, reason in graph.ledger.frozen)]
    reasons = "; ".join(list(dict.fromkeys(found))[:3]) or "no channel can go"
    if any(is_parametrized(m) for m in model.modules()):
        reasons += (
            ". Weights are parametrized (weight_norm and the like): fold them first with "
            "torch.nn.utils.parametrize.remove_parametrizations"
        )
    if spared := spared_of(graph, plan):
        kept = "; ".join(map(str, spared[:3]))
        reasons = f"no group is wide enough to lose a channel within its constraints and round_to ({kept})"
    return NothingRemoved(
        f"Nothing was removed of {type(model).__name__}, though {plan.request.get('ratio')} was asked for: "
        f"{reasons}. `trace(model, example_inputs).frozen` lists what stays and why."
    )


def _asks(plan: Plan) -> bool:
    ratio = plan.request.get("ratio", 0)
    return any(ratio.values()) if isinstance(ratio, Mapping) else bool(ratio)


_Tried = dict[int, list[Constraint]]  # operation that did not fit, by identity -> links tried for it


def _put_back(
    model: nn.Module,
    graph: Graph,
    plan: Plan,
    active: tuple[Constraint, ...],
    tried: _Tried,
    misfit: Misfit,
) -> tuple[tuple[Constraint, ...], Graph]:
    """Balance what an attention reads with what it makes if that may be the cause; else tie, else freeze.

    Links that did not help are let go, for they would keep channels for nothing.
    What is tied are the channels along a dimension whose size the forward gives (`view(b, -1, 4)`).
    What is frozen are the channels that touch the operation; if all of those stay already, the groups whose
    removal alone changes its sizes (an attribute that two layers share).
    """
    node = misfit.node
    ids = [p.ids.unique().numpy() for planes, _ in (*node.outputs, *node.inputs) for p in planes if not p.row]
    before = tried.setdefault(id(node), [])
    known = {_content(c) for c in (*active, *before)}
    helpful = [c for c in _links_of(graph, ids) if _content(c) not in known]
    if helpful:
        before += helpful
        return (*active, *helpful), graph
    useless = {_content(c) for c in before}
    active = tuple(c for c in active if _content(c) not in useless)
    if misfit.size and (tied := _tied_to_size(graph, misfit)) is not None:
        return active, tied
    frozen = graph.ledger.frozen_components(graph.component)
    first = _before_a_cut(misfit.node)
    if first is not None and not frozen[graph.component[first]].all():
        graph.ledger.grids[:] = [g for g in graph.ledger.grids if g.where != misfit.node.where]
        reason = f"{misfit.node.where}: cut at a number written into the forward ({misfit.problem})"
        return active, graph.refreeze(first, reason)
    own = [i for i in ids if not frozen[graph.component[i]].all()]
    if not own:
        own = [
            graph.ids_of(name) for name in _culprits(graph, plan, active, partial(_keeps_sizes, model, graph))
        ]
    if not own:
        raise WrongNetwork(f"{misfit}, and no channel that could go touches it.")
    reason = f"{node.where}: sizes written into the forward ({misfit.problem})"
    if misfit.size:
        reason += "; sizes from an attribute or another tensor's shape would follow"
    for i in own:
        graph = graph.refreeze(i, reason)
    return active, graph


def _content(link: Constraint) -> tuple[str, ...]:
    return link.where, *(row.tobytes().hex() for row in link.sets)


def _links_of(graph: Graph, ids: Sequence[np.ndarray]) -> list[Constraint]:
    """Return the links of these channels, and of those that must balance with them anyway."""
    parts = {int(c) for i in ids for c in graph.component[i]}
    rows = [(c, {int(x) for s in c.sets for x in s}) for c in graph.constraints]
    while True:
        more = [all_of for _, all_of in rows if parts & all_of and not all_of <= parts]
        if not more:
            break
        parts = parts.union(*more)
    return [c for c in graph.links if parts & {int(x) for s in c.sets for x in s}]


def _before_a_cut(node: Node) -> np.ndarray | None:
    """Return the channels up to the last place where a slice of channels begins or ends."""
    (before, shape), (after, size) = node.inputs[0], node.outputs[0]
    cut = tuple(d for d, (n, m) in enumerate(zip(shape, size, strict=False)) if n != m)
    if node.op != "slice" or len(cut) != 1:
        return None
    given, taken = ([p.core.flatten().numpy() for p in planes if p.dims == cut] for planes in (before, after))
    if not given or not taken:
        return None
    starts = np.flatnonzero(given[0] == taken[0][0])
    stop = int(starts[0]) + len(taken[0]) if len(starts) else 0
    return given[0][: stop if stop < len(given[0]) else int(starts[0])] if stop else None


def _tied_to_size(graph: Graph, misfit: Misfit) -> Graph | None:
    """Return the graph in which what a view split goes along the sizes that it leaves open, if new."""
    (planes, shape), size = misfit.node.outputs[0], misfit.size
    if misfit.node.op not in ("view", "_unsafe_view") or len(size) != len(shape):
        return None
    written = {d for d, n in enumerate(shape) if n > 1 and size[d] == n}
    for plane in planes:
        fixed = written & set(plane.dims)
        if fixed and fixed < set(plane.dims) and not plane.row:
            before = int(graph.component.max())
            graph.ledger.tie(plane, fixed, misfit.node.where)
            graph = build(graph.recording, graph.ledger)
            if int(graph.component.max()) < before:
                return graph
    return None


def _keeps_sizes(model: nn.Module, graph: Graph, part: Plan) -> bool:
    """Tell whether a part of a plan changes no sizes that it should not."""
    return _rehearsed(model, graph, part).misfit is None


def _proves(model: nn.Module, example_inputs: Any, graph: Graph, part: Plan) -> bool:
    """Tell whether a part of a plan can be proven."""
    try:
        verify(model, shrink(model, graph, part), graph, part, example_inputs)
    except (IsopruneError, RuntimeError):
        return False
    return True


def _culprits(
    graph: Graph, plan: Plan, active: tuple[Constraint, ...], right: Callable[[Plan], bool]
) -> list[str]:
    """Return the groups of a plan that are not ``right`` on their own, by halving."""

    def search(units: list[list[str]]) -> list[str]:
        names = [n for unit in units for n in unit]
        part = replace(plan, kept={n: plan.kept[n] for n in names if n in plan.kept})
        if not part or right(part):
            return []
        if len(units) == 1:
            return names
        half = len(units) // 2
        return search(units[:half]) + search(units[half:]) or names

    return search(clusters(graph, active))
