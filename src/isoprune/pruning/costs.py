"""What a network costs, dense or under a plan, read off the graph: parameters and multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from isoprune.graph import Graph, trace
from isoprune.graph.inputs import samples_of
from isoprune.graph.labels import box_size
from isoprune.graph.recording import Node
from isoprune.pruning.mask import masks_of
from isoprune.types import Plan


def parameters(graph: Graph, kept: Tensor, model: nn.Module) -> int:
    """Return how many parameters stay."""
    seen = {id(p): p for p in model.parameters()}
    names = {id(p): name for name, p in model.named_parameters()}
    total = 0
    for key, parameter in seen.items():
        planes, shape = graph.tensors.get(names[key], ((), parameter.shape))
        total += math.prod(box_size(planes, shape, kept))
    return total


def flops(graph: Graph, kept: Tensor) -> int:
    """Return the multiply-adds per sample of convolutions, linear layers and attention products."""
    return flops_of(graph.nodes, graph, kept)


def flops_of(nodes: Iterable[Node], graph: Graph, kept: Tensor) -> int:
    """Return the multiply-adds per sample of some of a graph's operations."""
    return sum(_multiply_adds(node, kept) for node in nodes) // samples_of(graph.recording.example_inputs)


def _multiply_adds(node: Node, kept: Tensor) -> int:
    if node.operation.multiply_adds is None:
        return 0
    sizes = [box_size(planes, shape, kept) for planes, shape in node.inputs]
    return node.operation.multiply_adds(sizes, box_size(*node.outputs[0], kept), node.transposed)


def everything(graph: Graph) -> Tensor:
    return torch.ones(len(graph.component), dtype=torch.bool)


Units = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Cost:
    """What one network costs.

    Attributes:
        parameters: How many there are.
        nonzero: How many of them no mask holds at zero.
        flops: Multiply-adds of one sample, as a dense kernel does them: a mask saves none.
    """

    parameters: int
    nonzero: int
    flops: int


def cost_of(model: nn.Module, example_inputs: Any) -> Cost:
    """Return what a network costs, counted anew and not read off a plan."""
    graph, zeros = trace(model, example_inputs), sum(int((~kept).sum()) for kept in masks_of(model).values())
    total = sum(p.numel() for p in model.parameters())
    return Cost(total, total - zeros, flops(graph, everything(graph)))


@dataclass(frozen=True)
class Costs:
    """What the dense and the pruned network cost, and what went.

    Attributes:
        dense, pruned: The two networks.
        ratios: Fractions that went, in [0, 1): of "units", "filters" (of prunable layers), "parameters"
            (zeros of masks count as gone) and "flops".
        units: (name, how many there were, how many went), of all units that could go, or of those that lost
            some, if any did.
        latency: Of a latency budget: its request, the measured share of the dense network's time, backend
            and threads.
    """

    dense: Cost
    pruned: Cost
    ratios: Mapping[str, float]
    units: Units = ()
    latency: Mapping[str, Any] | None = None

    @classmethod
    def between(
        cls, dense: Cost, pruned: Cost, units: Units, filters: float, *, size: int | None = None
    ) -> Costs:
        """Return the costs of two networks, with the fractions that went.

        Args:
            units: As in the attributes.
            filters: The fraction of filters that went.
            size: How many units could go; None: those of ``units``.
        """
        size = sum(number for _, number, _ in units) if size is None else size
        ratios = {
            "units": _part(sum(gone for *_, gone in units), size),
            "filters": filters,
            "parameters": _part(dense.nonzero - pruned.nonzero, dense.parameters),
            "flops": _part(dense.flops - pruned.flops, dense.flops),
        }
        return cls(dense, pruned, ratios, units)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON, read back by `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Costs:
        """Return what `as_dict` wrote."""
        units = tuple((str(name), int(size), int(gone)) for name, size, gone in facts["units"])
        return cls(Cost(**facts["dense"]), Cost(**facts["pruned"]), facts["ratios"], units, facts["latency"])


def costs_of(model: nn.Module, small: nn.Module, graph: Graph, plan: Plan) -> Costs:
    """Return what ``model`` and ``small``, made of it by ``plan`` of whole channels, cost."""
    kept = graph.kept_ids(plan)
    before, after = (sum(p.numel() for p in m.parameters()) for m in (model, small))
    dense = Cost(before, before, flops(graph, everything(graph)))
    pruned = Cost(after, after, flops(graph, kept))
    removed = plan.removed
    units = [(g, len(removed.get(g.name, ()))) for g in (*graph.groups, *graph.heads)]
    units = tuple((g.name, g.size, n) for g, n in units if n or (not removed and g.grain == plan.grain))
    filters, size = filters_removed(graph, kept), sum(g.size for g in graph.groups)
    return Costs.between(dense, pruned, units, filters, size=size)


def _part(gone: int, of: int) -> float:
    return gone / max(of, 1)


def filters_removed(graph: Graph, kept: Tensor) -> float:
    """Return the fraction of the filters of prunable layers that go."""
    made = {(m.tensor, m.dims[-1]) for g in graph.groups for m in g.members if m.role == "out"}
    before = after = 0
    for tensor, dim in sorted(made):
        planes, shape = graph.tensors[tensor]
        before += shape[dim]
        after += box_size(planes, shape, kept)[dim]
    return 1 - after / before if before else 0.0
