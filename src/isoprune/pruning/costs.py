"""What a network costs, dense or under a plan, read off the graph: parameters and multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from isoprune.graph import Graph
from isoprune.graph.labels import box_size
from isoprune.graph.recording import Node
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
    counted = [n for n in graph.nodes if n.family == "contraction" and n.op != "embedding"]
    return sum(_multiply_adds(node, kept) for node in counted) // _samples(graph)


def _samples(graph: Graph) -> int:
    inputs = tree_flatten(graph.recording.example_inputs)[0]
    return next((t.size(0) for t in inputs if isinstance(t, Tensor) and t.dim() > 1), 1)


def _multiply_adds(node: Node, kept: Tensor) -> int:
    sizes = [box_size(planes, shape, kept) for planes, shape in node.inputs]
    out = box_size(*node.outputs[0], kept)
    if node.op == "convolution":  # every element of the output, or transposed of the input, meets a filter
        return math.prod(sizes[0] if node.transposed else out) * math.prod(sizes[1][1:])
    first = sizes[1] if node.op in ("addmm", "baddbmm") else sizes[0]
    return math.prod(out) * first[-1]


def everything(graph: Graph) -> Tensor:
    return torch.ones(len(graph.component), dtype=torch.bool)


def realised(
    model: nn.Module,
    small: nn.Module,
    graph: Graph,
    plan: Plan,
    example_inputs: Any,  # noqa: ARG001  the graph remembers them
) -> dict[str, Any]:
    """Return asked against realised: the ratios of filters, weights and FLOPs that went, and each group's.

    ``parameters`` and ``flops`` (multiply-adds of one sample) are given for ``dense`` and ``pruned``.
    """
    kept = graph.kept_ids(plan)
    full = everything(graph)
    before, after = (sum(p.numel() for p in m.parameters()) for m in (model, small))
    flops_before, flops_after = flops(graph, full), flops(graph, kept)
    groups = [
        {"name": g.name, "channels": g.size, "removed": n, "ratio": n / g.size}
        for g in graph.groups
        if (n := len(plan.removed.get(g.name, ()))) or not plan.removed
    ]
    return {
        "asked": plan.request.get("ratio"),
        "filters": filters_removed(graph, kept),
        "weights": 1 - after / before,
        "flops": 1 - flops_after / max(flops_before, 1),
        "groups": groups,
        "parameters": {"dense": before, "pruned": after},
        "flops_per_sample": {"dense": flops_before, "pruned": flops_after},
    }


def filters_removed(graph: Graph, kept: Tensor) -> float:
    """Return the fraction of the filters of prunable layers that go."""
    made = {(m.tensor, m.dims[0]) for g in graph.groups for m in g.members if m.role == "out"}
    before = after = 0
    for tensor, dim in sorted(made):
        planes, shape = graph.tensors[tensor]
        before += shape[dim]
        after += box_size(planes, shape, kept)[dim]
    return 1 - after / before if before else 0.0


def shapes(model: nn.Module) -> dict[str, Sequence[int]]:
    """Return the shape of every tensor of the state dict."""
    return {name: tuple(t.shape) for name, t in model.state_dict().items()}
