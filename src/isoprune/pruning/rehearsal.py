"""A rehearsal: the small network's forward, recorded and compared with the dense one's, op by op.

Nothing is computed. It finds sizes that are written into the forward by hand, and scales that the
forward computes from a width (`(C // heads) ** -0.5`) and that would change with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from isoprune.graph import Graph
from isoprune.graph.cloning import tensor_names
from isoprune.graph.isolation import isolated
from isoprune.graph.labels import box_size
from isoprune.graph.recording import Node, Pass
from isoprune.graph.trace import record
from isoprune.graph.tracer import Tracer
from isoprune.pruning.drift import Drift, find_drift


@dataclass(frozen=True)
class Misfit:
    """An operation whose sizes in the small network are not those the graph predicts."""

    node: Node
    problem: str
    size: tuple[int, ...] = ()  # of its first output, where that is what does not fit

    def __str__(self) -> str:
        return f"{self.node.where}: {self.problem}"


@dataclass(frozen=True)
class Rehearsal:
    misfit: Misfit | None
    drifts: tuple[Drift, ...]


@isolated()
def rehearse(small: nn.Module, graph: Graph, kept: Tensor) -> Rehearsal:
    """Return the first misfit of ``small`` (an outline; left in eval mode), and every drift before it.

    Every recorded pass is gone through; an outline runs each with the answers that its values gave.
    """
    drifts: dict[tuple, Drift] = {}
    for one in graph.recording.passes:
        found = _rehearsed(small, graph, one, kept)
        times: Counter[tuple] = Counter()
        for drift in found.drifts:  # two passes through one layer, or two calls of it, ask for it once
            times[drift.makers, _scaled(drift)] += 1
            drifts.setdefault((times[drift.makers, _scaled(drift)], *_scaled(drift)), drift)
        if found.misfit is not None:
            return Rehearsal(found.misfit, tuple(drifts.values()))
    return Rehearsal(None, tuple(drifts.values()))


def _scaled(drift: Drift) -> tuple:
    ids = [(name, None if t is None else tuple(t.tolist())) for name, t in sorted(drift.scaled.items())]
    return round(drift.factor, 9), *ids


def _rehearsed(small: nn.Module, graph: Graph, one: Pass, kept: Tensor) -> Rehearsal:
    tracer = Tracer(tensor_names(small), watch=False)
    error = ""
    try:
        record(small, one.entry, tracer, one.answers(), one.constants)
    except Exception as problem:
        error = f"{type(problem).__name__}: {problem}"
    nodes = tracer.nodes
    drifts: list[Drift] = []
    recorded, played = _essential(one.nodes), _essential(nodes)
    for want, got in zip(recorded, played, strict=False):
        if _runs_as(want) != _runs_as(got):
            return Rehearsal(Misfit(want, f"{got.op} ran where {want.op} had"), tuple(drifts))
        # The further outputs of a norm are its statistics, which nothing reads.
        compared = slice(want.operation.outputs)
        for (planes, shape), (_, size) in zip(want.outputs[compared], got.outputs[compared], strict=True):
            predicted = box_size(planes, shape, kept)
            if tuple(size) != predicted and not (
                want.op == "expand" and _only_expanded(want, size, predicted)
            ):
                problem = f"its output is {tuple(size)}, not {predicted}"
                return Rehearsal(Misfit(want, problem, tuple(size)), tuple(drifts))
        if want.numbers != got.numbers:
            if (drift := find_drift(graph, kept, one.nodes, want, got)) is None:
                problem = f"a number in it changed from {want.numbers} to {got.numbers}"
                return Rehearsal(Misfit(want, problem), tuple(drifts))
            drifts.append(drift)
        if problem := _other_values(want, got, kept):
            return Rehearsal(Misfit(want, problem), tuple(drifts))
    if len(played) < len(recorded):
        node = recorded[len(played)]
        return Rehearsal(Misfit(node, error or "the forward ended early"), tuple(drifts))
    if recorded and (len(played) > len(recorded) or error):
        more = f"{played[len(recorded)].op} ran after it" if len(played) > len(recorded) else error
        return Rehearsal(Misfit(recorded[-1], more), tuple(drifts))
    return Rehearsal(None, tuple(drifts))


def _other_values(want: Node, got: Node, kept: Tensor) -> str:
    """Return how an operation of the right sizes takes other values; empty if it does not."""
    same = [
        a.partition(" ")[0] == b.partition(" ")[0]
        for a, b in zip(want.constants, got.constants, strict=False)
    ]
    if all(same) and len(same) == len(want.constants) == len(got.constants):
        pairs = zip(want.constants, got.constants, strict=True)
        changed = [(a, b) for a, b in pairs if a != b and a.count(",") == b.count(",")]
        if changed:
            return "a constant in it changed from {} to {}".format(*changed[0])
    if not want.picks or not got.picks:
        return ""
    dim = want.picks[0] % len(want.inputs[0][1]) if want.inputs else 0
    for plane in want.inputs[0][0]:
        if plane.dims != (dim,):
            continue
        before = plane.core.reshape(-1)
        picked = _picked(want, before)
        if not torch.equal(picked[kept[picked]], _picked(got, before[kept[before]])):
            return f"it picks other channels by their positions {got.picks[1:]}"
    return ""


def _picked(node: Node, ids: Tensor) -> Tensor:
    """Return the channels that a slice, or a single position, picks."""
    if node.op == "select":
        return ids[node.picks[1]].reshape(1)
    start, end, step = (*node.picks[1:], None, None, None)[:3]
    return ids[slice(start, end, step)]


def _only_expanded(node: Node, size: Sequence[int], predicted: Sequence[int]) -> bool:
    """Tell whether sizes differ only where one value is laid out to any number (`expand_as`)."""
    before = node.inputs[0][1]
    before = (*(1,) * (len(size) - len(before)), *before)
    return all(a == b or n == 1 for a, b, n in zip(size, predicted, before, strict=True))


def _runs_as(node: Node) -> str:
    return node.operation.runs_as or node.op


def _essential(nodes: Sequence[Node]) -> list[Node]:
    """Return the operations that compute something, whatever the memory layout."""
    return [n for n in nodes if not n.operation.layout]
