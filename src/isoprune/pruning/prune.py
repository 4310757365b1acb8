"""The verb: a network and a ratio -> a smaller network that is proven right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from isoprune.graph import Constraint, Graph, trace
from isoprune.pruning import costs
from isoprune.pruning.allocation import Number, Ratio
from isoprune.pruning.choose import clusters
from isoprune.pruning.drift import Drift
from isoprune.pruning.plan import make_plan, plan_for_target, share
from isoprune.pruning.rehearsal import Misfit, rehearse
from isoprune.pruning.shrink import outline, shrink
from isoprune.pruning.verify import NotFinite, Verification, WrongNetwork, verify
from isoprune.types import IsopruneError, Plan, Scores
from isoprune.types.collector import uncollected

Planner = Callable[[Graph, tuple[Constraint, ...]], Plan]


class NothingRemoved(IsopruneError):
    """Something was asked for and nothing could go: an error, not a silent success."""


@dataclass(frozen=True)
class PruneResult:
    """A smaller network, how it was made, and the proof.

    Attributes:
        model: New, of the same class; the dense one is as it was.
        plan: Which channels of which group went.
        graph: Groups, and in ``graph.frozen`` what had to stay and why.
        realised: Asked against realised ratios of filters, weights and FLOPs.
        verification: The largest difference from the dense network with those channels zeroed.
    """

    model: nn.Module
    plan: Plan
    graph: Graph
    realised: Mapping[str, Any]
    verification: Verification
    attempts: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Settled:
    """A plan whose shapes fit, the graph that it is of, and what had to be put back for it."""

    plan: Plan
    graph: Graph
    drifts: Sequence[Drift]  # scales that must be made up for
    active: tuple[Constraint, ...]  # links that were needed
    attempts: tuple[str, ...]


def settle(model: nn.Module, graph: Graph, planner: Planner) -> Settled:
    """Return what ``planner`` asks for, as far as its shapes fit.

    The plan's shapes are tried without computing anything; an operation that does not fit (a size written
    into the forward) freezes the channels it touches, and the rest is planned anew.

    Raises:
        WrongNetwork: If no plan fits.
    """
    attempts: list[str] = []
    active: tuple[Constraint, ...] = ()
    for _ in range(200):
        plan = planner(graph, active)
        with uncollected():
            rehearsal = rehearse(outline(model, graph, plan), graph, graph.kept_ids(plan))
        if rehearsal.misfit is None:
            return Settled(plan, graph, rehearsal.drifts, active, tuple(attempts))
        attempts.append(str(rehearsal.misfit))
        active, graph = _put_back(model, graph, plan, active, rehearsal.misfit)
    raise WrongNetwork(f"The sizes of a smaller network never fitted; last: {attempts[-1]}.")


def prune_by(model: nn.Module, example_inputs: Any, graph: Graph, planner: Planner) -> PruneResult:
    """Return what ``planner`` asks for, as far as it can be proven.

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
            proof = verify(model, small, graph, plan, example_inputs)
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
            realised = costs.realised(model, small, graph, plan, example_inputs)
            return PruneResult(small, plan, graph, realised, proof, tried)


def _nothing(model: nn.Module, graph: Graph, plan: Plan) -> NothingRemoved:
    found = [*(f.reason for f in graph.frozen), *(reason for _, reason in graph.ledger.frozen)]
    reasons = "; ".join(list(dict.fromkeys(found))[:3]) or "no channel can go"
    if any(is_parametrized(m) for m in model.modules()):
        reasons += (
            ". Weights are parametrized (weight_norm and the like): fold them first with "
            "torch.nn.utils.parametrize.remove_parametrizations"
        )
    if graph.groups:
        reasons = "no group is wide enough to lose a channel within its constraints and round_to"
    return NothingRemoved(
        f"Nothing was removed of {type(model).__name__}, though {plan.request.get('ratio')} was asked for: "
        f"{reasons}. `trace(model, example_inputs).frozen` lists what stays and why."
    )


def _asks(plan: Plan) -> bool:
    ratio = plan.request.get("ratio", 0)
    return any(ratio.values()) if isinstance(ratio, Mapping) else bool(ratio)


def _put_back(
    model: nn.Module, graph: Graph, plan: Plan, active: tuple[Constraint, ...], misfit: Misfit
) -> tuple[tuple[Constraint, ...], Graph]:
    """Balance what an attention reads with what it makes if that may be the cause; else freeze.

    What is frozen are the channels that touch the operation; if all of those stay already, the groups whose
    removal alone changes its sizes (an attribute that two layers share).
    """
    node = misfit.node
    ids = [p.ids.unique().numpy() for planes, _ in (*node.outputs, *node.inputs) for p in planes if not p.row]
    parts = {int(c) for i in ids for c in graph.component[i]}
    known = {id(c) for c in active}
    helpful = [c for c in graph.links if id(c) not in known and parts & {int(x) for s in c.sets for x in s}]
    if helpful:
        return (*active, *helpful), graph
    frozen = graph.ledger.frozen_components(graph.component)
    own = [i for i in ids if not frozen[graph.component[i]].all()]
    if not own:
        own = [graph.ids_of(name) for name in _culprits(graph, plan, active, partial(_fits, model, graph))]
    if not own:
        raise WrongNetwork(f"{misfit}, and no channel that could go touches it.")
    for i in own:
        graph = graph.refreeze(i, f"{node.where}: sizes written into the forward ({misfit.problem})")
    return active, graph


def _fits(model: nn.Module, graph: Graph, part: Plan) -> bool:
    """Tell whether a part of a plan changes no sizes that it should not."""
    with uncollected():
        return rehearse(outline(model, graph, part), graph, graph.kept_ids(part)).misfit is None


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


def prune(
    model: nn.Module,
    example_inputs: Any,
    ratio: Ratio | None = None,
    *,
    criterion: str | Callable[..., Scores] = "l1_norm",
    batches: Any = None,
    flops: Number | None = None,
    parameters: Number | None = None,
    allocation: str = "uniform",
    scope: str = "all",
    round_to: int = 1,
    floor: int = 1,
    cap: Number = 0.9,
    seed: int = 0,
) -> PruneResult:
    """Return a physically smaller network of the same class, proven against the dense one.

    Args:
        model: Any module; left as it is.
        example_inputs: What its forward takes: a tensor, a tuple of arguments, or a dict of keywords.
        ratio: Fraction of channels removed per group, or patterns -> fractions; see `make_plan`. The last
            channel of a group and the network's outputs always stay.
        criterion: A name from `isoprune methods`, or a function
            (model, graph, batches, *, generator) -> scores.
        batches: Data for criteria that need some.
        flops: Instead of ``ratio``: the fraction of multiply-adds that may stay, such as 0.5.
        parameters: Instead of ``ratio``: the fraction of parameters that may stay.
        allocation, scope, round_to, floor, cap: See `make_plan`.
        seed: For criteria that draw.

    Returns:
        Model, plan, graph (with what is frozen and why), realised ratios and the proof.

    Raises:
        IsopruneError: Bad options; a forward that does not run; nothing that could be removed.
    """
    from isoprune.methods.criteria import scores_of

    targets = {"ratio": ratio, "flops": flops, "parameters": parameters}
    given = [k for k, v in targets.items() if v is not None]
    if len(given) != 1:
        raise IsopruneError(f"Give one of ratio, flops and parameters; got {', '.join(given) or 'none'}.")
    graph = trace(model, example_inputs)

    def planner(graph: Graph, links: tuple[Constraint, ...]) -> Plan:
        generator = torch.Generator().manual_seed(seed)
        scores = scores_of(criterion, model, graph, batches, generator=generator)

        def at(r: Ratio) -> Plan:
            return make_plan(
                graph,
                scores,
                ratio=r,
                allocation=allocation,
                scope=scope,
                round_to=round_to,
                floor=floor,
                cap=cap,
                links=links,
            )

        if ratio is not None:
            return at(ratio)
        target: Number = flops if flops is not None else parameters  # pyright: ignore[reportAssignmentType]
        return plan_for_target(at, share(graph, model, given[0]), target, what=given[0])

    return prune_by(model, example_inputs, graph, planner)
