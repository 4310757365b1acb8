"""The dense network with a plan's channels zeroed where the next layer reads them: the slow oracle.

It runs the dense network's own forward, operation by operation, beside the recorded graph. Where an
operation reads channels (a contraction), those that go are zeroed; where it takes a statistic over them
(layer norm, group norm, a mean, a softmax), the statistic is restricted to those that stay, because
zeroing is not removing there: such a network's function changes, and a report should say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

from isoprune.graph.aten import operation_name
from isoprune.graph.dispatch_mode import DispatchMode
from isoprune.graph.groups import Graph
from isoprune.graph.labels import Planes, keep_mask, restrict, rows_first
from isoprune.graph.recording import Node, Pass
from isoprune.pruning.weight_norms import Norm, carried, roots_of_weights
from isoprune.types import IsopruneError

OfWeights = Literal["kept", "counted"] | None


class Unproven(IsopruneError):
    """The dense network's forward did not follow the recorded one."""


@dataclass
class Following(DispatchMode):
    """Follows a forward along the recorded operations that read channels."""

    nodes: Iterator[tuple[Node, OfWeights]]
    node: Node | None = field(init=False)  # the next one
    of_weights: OfWeights = field(init=False)

    def __post_init__(self) -> None:
        super().__init__()
        self.node, self.of_weights = next(self.nodes, (None, None))

    def reading(self, func: Any, args: Any, kwargs: Any) -> tuple[Node | None, OfWeights]:
        """Return the recorded operation that is running, and go on to the next; None: nothing is read.

        What is not recorded is layout, pointwise, or on constants.
        """
        node, of_weights = self.node, self.of_weights
        if node is None or operation_name(func) != node.op or not _same_shapes(node, (args, kwargs)):
            return None, None
        self.node, self.of_weights = next(self.nodes, (None, None))
        return node, of_weights


@dataclass
class Zeroed(Following):
    """Runs a forward with the channels that are not ``kept`` zeroed where they are read."""

    kept: Tensor
    whole: bool = False  # whether norms over weights are left as they were
    statistics: set[str] = field(default_factory=set)  # where the function changes
    norms: set[str] = field(default_factory=set)  # those of them that are over weights

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        node, of_weights = self.reading(func, args, kwargs)
        if node is None or of_weights == "kept":
            return func(*args, **kwargs)
        if of_weights == "counted" and self._loses(node, args, kwargs):
            self.norms.add(node.where)
            self.statistics.add(node.where)
            if self.whole:
                return func(*args, **kwargs)
        if node.operation.family == "contraction" or node.operation.zeroing:
            return func(*self._zeroed(node, args, kwargs), **kwargs)
        if keep_mask(summed(node, 0, args, kwargs), self.kept) is not None:
            self.statistics.add(node.where)
            return self._restricted(func, node, args, kwargs)
        return func(*args, **kwargs)

    def _loses(self, node: Node, args: Any, kwargs: Any) -> bool:
        """Tell whether what an operation sums over loses channels."""
        planes = _along_the_sum(node) if node.operation.factors else summed(node, 0, args, kwargs)
        return keep_mask(planes, self.kept) is not None

    def _zeroed(self, node: Node, args: Any, kwargs: Any) -> Sequence[Any]:
        flat, spec = tree_flatten((args, kwargs))
        places = [i for i, value in enumerate(flat) if isinstance(value, Tensor)]
        # Zeroing one factor of a product is enough, and so is zeroing what is summed.
        for factor in (0,) if node.operation.zeroing else node.operation.factors[:1]:
            mask = keep_mask(summed(node, factor, args, kwargs), self.kept)
            if mask is not None:
                value = flat[places[factor]]
                # Not a product: infinity times zero would not be zero.
                flat[places[factor]] = torch.where(mask.to(value.device), value, value.new_zeros(()))
        return tree_unflatten(flat, spec)[0]

    def _restricted(self, func: Any, node: Node, args: Any, kwargs: Any) -> Any:
        """Run on the boxes of what stays and lay the results back, zero elsewhere."""
        inputs = iter(node.inputs)
        args, kwargs = tree_map_only(
            Tensor, lambda t: restrict(t, next(inputs)[0], self.kept), (args, kwargs)
        )
        args = node.operation.resized(list(args))
        outputs = iter(node.outputs)
        return tree_map_only(Tensor, lambda t: self._laid_back(t, *next(outputs)), func(*args, **kwargs))

    def _laid_back(self, small: Tensor, planes: Any, shape: torch.Size) -> Tensor:
        mask = keep_mask(planes, self.kept)
        if mask is None or small.shape == shape:
            return small
        order = rows_first(planes, len(shape))
        full = small.new_zeros(shape)
        full.permute(order)[mask.expand(shape).permute(order)] = small.permute(order).reshape(-1)
        return full


def summed(node: Node, factor: int, args: Any, kwargs: Any) -> Planes:
    """Return the planes of an operand; of a norm or a sum only those along what it runs over."""
    planes, shape = node.inputs[factor]
    if node.operation.over is None:
        return planes
    dims = node.operation.over(args, kwargs, len(shape))
    return tuple(p for p in planes if set(p.dims) & dims)


def _same_shapes(node: Node, call: Any) -> bool:
    shapes = [v.shape for v in tree_flatten(call)[0] if isinstance(v, Tensor)]
    return shapes == [shape for _, shape in node.inputs]


def readings(graph: Graph, nodes: Sequence[Node], norms: Sequence[Norm]) -> Iterator[tuple[Node, OfWeights]]:
    """Yield the operations that read channels, and which of them are norms over what weights read.

    "kept": shrinking makes up for it. "counted": it loses what is cut, and the function changes.
    """
    roots = roots_of_weights(nodes, graph.recording.names)
    mine = [i for i in roots if nodes[i].operation.reads]
    of_data = carried(graph, nodes, roots) if mine else None
    for i, node in enumerate(nodes):
        if not node.operation.reads:
            continue
        if i not in roots or of_data is None:
            yield node, None
        elif any(roots[i] <= norm.tensors for norm in norms):
            yield node, "kept"
        else:
            ids = [p.core.numpy() for p in _along_the_sum(node)]
            yield node, "counted" if any(of_data[i].any() for i in ids) else None


def _along_the_sum(node: Node) -> Planes:
    """Return the planes along which a product over weights sums; of a norm those that it may run over."""
    if not node.operation.factors:
        return node.inputs[0][0]
    planes, shape = node.inputs[node.operation.factors[0]]
    summed = 1 if node.op == "convolution" else len(shape) - 1
    return tuple(p for p in planes if summed in p.dims)


@contextmanager
def zeroing(
    graph: Graph, one: Pass, kept: Tensor, *, norms: Sequence[Norm] = (), whole: bool = False
) -> Iterator[Zeroed]:
    """Prepare one forward of the dense network, to be run in the mode that is given, with channels zeroed.

    The mode notes where a statistic lost channels.

    Args:
        graph: That ``one`` is of.
        one: The recorded way that the forward takes.
        kept: Which channel ids stay.
        norms: Norms over weights that the smaller network keeps as they were.
        whole: Whether all norms over weights stay as they were.

    Raises:
        Unproven: If the forward did not run the recorded operations.
    """
    mode = Zeroed(readings(graph, one.nodes, norms), kept, whole)
    yield mode
    if mode.node is not None:
        raise Unproven(
            f"The forward took another path than when it was recorded: {mode.node.where} did not run. "
            "Its control flow depends on values, so the smaller network cannot be proven."
        )
