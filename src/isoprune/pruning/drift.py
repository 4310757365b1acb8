"""Scales that a forward computes from a width (`(C // heads) ** -0.5`): which parameters make up for them.

Cutting the width changes such a number, and with it what the network computes. The parameters that make
the scaled values linearly (a query's weight and bias, or the norm after it) are multiplied by the
quotient of the old and the new number, found by walking the recorded operations backwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isclose

import torch
from torch import Tensor

from isoprune.graph import Graph
from isoprune.graph.labels import Plane, Planes, box_size, core
from isoprune.graph.recording import Node


@dataclass(frozen=True)
class Drift:
    """A number in the forward that changed: ``scaled`` names the channel ids, per parameter, to multiply.

    ``makers``: the operations that make the scaled values. A layer that is called twice is scaled once.
    """

    factor: float
    scaled: Mapping[str, Tensor | None]  # None: the whole parameter
    makers: frozenset[int]


def find_drift(graph: Graph, kept: Tensor, nodes: Sequence[Node], want: Node, got: Node) -> Drift | None:
    """Return what to scale back for a product or quotient whose only number changed, if that can be done."""
    if want.operation.scaling != "factor" or len(want.numbers) != 1 or 0.0 in (*want.numbers, *got.numbers):
        return None
    factor = want.numbers[0] / got.numbers[0]
    if want.op.startswith("div"):
        factor = 1 / factor
    walk = _Walk(graph, {key: node for node in nodes for key in node.writes}, {}, kept)
    if not walk.back(want.reads[0], _cut_ids(_explaining(want, kept, factor), kept)) or not walk.scaled:
        return None
    if any(walk.depends(key) for key in walk.divisors):
        return None  # x / |x|: what scales x scales both
    return Drift(factor, walk.scaled, frozenset(walk.makers))


_POWERS = (0.25, 0.5, 1.0, 2.0)  # of a width: attention takes its root, and half of that on either side


def _explaining(node: Node, kept: Tensor, factor: float) -> Planes:
    """Return the planes whose loss of channels explains a factor, of several that lose some; else all."""
    planes, shape = node.inputs[0]
    sizes = box_size(planes, shape, kept)
    wanted = [f ** (1 / power) for power in _POWERS for f in (factor, 1 / factor)]

    def explains(plane: Plane) -> bool:
        return any(isclose(sizes[d] / shape[d], w, rel_tol=1e-6) for d in plane.dims for w in wanted)

    return tuple(p for p in planes if explains(p)) or planes


def _cut_ids(planes: Planes, kept: Tensor) -> Tensor | None:
    """Return the channels along the dimensions that lose some; None if there are none."""
    ids = [p.core.reshape(-1) for p in planes if not p.row]
    ids = [i for i in ids if not bool(kept[i].all())]
    return torch.cat(ids).unique() if ids else None


@dataclass
class _Walk:
    """Goes from a value to the parameters that make it linearly; ``scaled`` gathers the ids to scale."""

    graph: Graph
    writer: Mapping[int, Node]
    scaled: dict[str, Tensor | None]
    kept: Tensor
    divisors: list[int] = field(default_factory=list)  # the other factors on the way
    makers: set[int] = field(default_factory=set)

    def depends(self, key: int) -> bool:
        """Tell whether a value is computed from a parameter that is scaled."""
        names, todo, seen = self.graph.recording.names, [key], set[int]()
        while todo:
            key = todo.pop()
            if names.get(key) in self.scaled:
                return True
            node = self.writer.get(key)
            if node is not None and key not in seen:
                seen.add(key)
                todo += node.reads
        return False

    def back(self, key: int, ids: Tensor | None, maker: Node | None = None) -> bool:
        """Scale the channels ``ids`` (None: all) of a value at its makers; False if that cannot be done."""
        name = self.graph.recording.names.get(key)
        if name is not None:
            self._add(name, ids)
            self.makers.add(id(maker))
            return True
        node = self.writer.get(key)
        if node is None:
            return False
        if node.operation.family == "contraction":
            return self._product(node, ids)
        if node.operation.family == "norm":
            affine = [i for i in (1, 2) if i < len(node.reads)]
            return bool(affine) and all(
                self.back(node.reads[i], self._matching(node, i, ids), node) for i in affine
            )
        if node.operation.scaling == "sum":
            parts = [i for i, (planes, _) in enumerate(node.inputs) if planes]
            return bool(parts) and all(
                self.back(node.reads[i], self._matching(node, i, ids), maker) for i in parts
            )
        if node.operation.scaling is not None:
            if node.operation.scaling == "factor":
                self.divisors += node.reads[1:]
            return self.back(node.reads[0], self._matching(node, 0, ids), maker)
        return False

    def _product(self, node: Node, ids: Tensor | None) -> bool:
        """A bias is scaled along; of the two factors the one with these channels, else the first."""
        factors = node.operation.factors or (0,)
        first, bias = factors[0], node.operation.bias
        of = first if ids is None else max(factors, key=lambda i: _number_in(node.inputs[i][0], ids))
        own = _cut_ids(node.inputs[of][0], self.kept) if ids is None else ids
        done = self.back(node.reads[of], own, node)
        further = [bias] if bias is not None and bias < len(node.reads) else []
        return done and all(self.back(node.reads[i], self._bias(node, i, ids), node) for i in further)

    def _bias(self, node: Node, i: int, ids: Tensor | None) -> Tensor | None:
        planes, _ = node.inputs[i]
        if node.op == "convolution" and planes:  # [C] stands for [1, C, 1, 1]
            out = [p for p in node.outputs[0][0] if p.dims == (1,)]
            mine = [p.core.reshape(-1) for p in planes]
            if out and mine and ids is not None:
                return mine[0][torch.isin(core(out[0].ids).reshape(-1), ids)]
        return self._matching(node, i, ids)

    def _matching(self, node: Node, i: int, ids: Tensor | None) -> Tensor | None:
        """Return the ids of an operand's channels that lie where the output has ``ids``."""
        planes, shape = node.inputs[i]
        if ids is not None and node.operation.family == "shape":
            return self._with_merged(node, i, ids)
        if ids is None or _holds(planes, ids):
            return ids
        out_planes, out_shape = node.outputs[0]
        matched = [ids[:0]]
        for p in planes:
            for q in out_planes:
                if p.row or q.row or len(shape) > len(out_shape):
                    continue
                per_channel = node.operation.per_channel and len(shape) == 1  # [C] stands for [1, C, 1, 1]
                after = len(out_shape) - 2 if per_channel else 0
                before = len(out_shape) - len(shape) - after
                laid = p.ids[(None,) * before + (...,) + (None,) * after]
                dims = {*q.dims, *(d + before for d in p.dims)}
                mine, theirs = (core(t.expand(out_shape), keep=dims) for t in (laid, q.ids))
                matched.append(mine[torch.isin(theirs, ids)].unique())
        return torch.cat(matched).unique()

    def _with_merged(self, node: Node, i: int, ids: Tensor) -> Tensor:
        """Return ``ids`` and what became one channel with them, such as both numbers of a complex one.

        A cut or split drops channels too; what it drops is not in the value.
        """
        planes, _ = node.inputs[i]
        if node.picks or len(node.outputs) != 1 or not planes:
            return ids
        before, after = (
            torch.cat([p.core.reshape(-1) for p in given] or [ids[:0]])
            for given in (planes, node.outputs[0][0])
        )
        merged = before[~torch.isin(before, after)].unique()
        component = torch.as_tensor(self.graph.component)
        return torch.cat([ids, merged[torch.isin(component[merged], component[ids])]]).unique()

    def _add(self, name: str, ids: Tensor | None) -> None:
        if ids is not None and not _holds(self.graph.tensors[name][0], ids):
            return  # another part of a concatenation
        old = self.scaled.get(name, ids)
        self.scaled[name] = None if ids is None or old is None else torch.cat([old, ids]).unique()


def _holds(planes: Planes, ids: Tensor) -> bool:
    return bool(_number_in(planes, ids))


def _number_in(planes: Planes, ids: Tensor) -> int:
    """Return how many of these channels planes have."""
    return max((int(torch.isin(ids, p.core.reshape(-1)).sum()) for p in planes), default=0)
