"""Channels that are zero wherever they are read: without them the network computes the same.

Whoever zeroed them: masks, a penalty, a BatchNorm whose shift undoes its mean. The network runs once on drawn
inputs, with all that an activation cuts off passed on, so that a channel that is zero is zero for any input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map_only

from isoprune.graph import Constraint, Graph
from isoprune.graph.aten import operation_name
from isoprune.graph.cloning import runnable_copy
from isoprune.graph.fixed_kernels import with_fixed_kernels
from isoprune.graph.labels import Planes
from isoprune.graph.reads import replayed_reads
from isoprune.graph.recording import Node, Pass
from isoprune.pruning.choose import choose
from isoprune.pruning.reference import Following, readings, summed
from isoprune.pruning.weight_norms import weight_norms
from isoprune.types import IsopruneError, Plan
from isoprune.types.seeded import seeded


def living_channels(model: nn.Module, graph: Graph) -> np.ndarray:
    """Return, by component, whether its channels are anything but zero somewhere where they are read (bool).

    A channel whose readers have zeros for it is not living either. Cost: a forward of every recorded call.

    Raises:
        IsopruneError: If the forward does not run on drawn inputs as it was recorded.
    """
    norms = weight_norms(model, graph)
    living = np.zeros(int(graph.component.max()) + 1, dtype=bool)
    for one in graph.recording.passes:
        mode = _Living(readings(graph, one.nodes, norms), graph.component, living)
        try:
            with torch.no_grad(), with_fixed_kernels(), mode, replayed_reads(one.answers()):
                one.entry.run(runnable_copy(model), _drawn(one))
        except Exception as error:
            raise IsopruneError(
                f"Zero channels of {type(model).__name__} are looked for on drawn inputs, on which it does "
                f"not run: {type(error).__name__}: {error}. Take a criterion and a ratio instead."
            ) from error
        if mode.node is not None:
            raise IsopruneError(
                f"Zero channels of {type(model).__name__} are not known: on drawn inputs {mode.node.where} "
                "did not run as it was recorded. Take a criterion and a ratio instead."
            )
    return living


def plan_without_dead(
    graph: Graph, living: np.ndarray, links: tuple[Constraint, ...] = (), *, floor: int = 1
) -> Plan:
    """Return the plan that removes dead channels, and none that lives: fewer, where others must balance."""
    alive = {g.name: torch.from_numpy(living[graph.channels[g.name]]) for g in graph.groups}
    keep = {g.name: max(int(alive[g.name].sum()), min(floor, g.size)) for g in graph.groups}
    scores = {name: mask.double() for name, mask in alive.items()}
    for add in (1, max(keep.values(), default=1)):  # what is lost, else the whole group
        removed = choose(graph, scores, keep, floor=floor, links=links)
        lost = {name: int(alive[name][list(gone)].sum()) for name, gone in removed.items()}
        if not any(lost.values()):
            break
        keep = {g.name: min(keep[g.name] + add * lost.get(g.name, 0), g.size) for g in graph.groups}
    else:
        removed = choose(graph, scores, keep, floor=floor, links=links)
        removed = {n: gone for n, gone in removed.items() if not bool(alive[n][list(gone)].any())}
    return graph.removing(removed, criterion="zeros", floor=floor)


def _drawn(one: Pass) -> Any:
    """Return the inputs with other floats: an example of zeros would make everything dead."""
    generator = seeded(0)

    def other(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor.clone()
        return torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor)

    return tree_map_only(Tensor, other, one.entry.inputs)


@dataclass
class _Living(Following):
    """Runs a forward and notes which channels are not zero where they are read."""

    component: np.ndarray
    living: np.ndarray

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        node, of_weights = self.reading(func, args, kwargs)
        if node is not None:
            if of_weights != "kept":
                self._note(node, args, kwargs)
        elif torch.Tag.pointwise in func.tags and args and isinstance(args[0], Tensor):
            return _passed_on(func, args, kwargs)
        if operation_name(func) == "embedding":  # other positions may hold what these do not
            table = args[0]
            return func(*args, **kwargs) + 2 * table.abs().amax(0)
        return func(*args, **kwargs)

    def _note(self, node: Node, args: Any, kwargs: Any) -> None:
        values = [v for v in tree_flatten((args, kwargs))[0] if isinstance(v, Tensor)]
        if node.operation.factors:
            there = [self._nonzero(node.inputs[i][0], values[i]) for i in node.operation.factors]
            for one in there:
                for channel in one:  # what is summed over is in both
                    if all(other.get(channel, False) for other in there):
                        self.living[channel] = True
            return
        if node.operation.family == "contraction":  # a lookup
            return
        for channel, some in self._nonzero(summed(node, 0, args, kwargs), values[0]).items():
            # Zeros count in a mean, and in the groups of a norm.
            self.living[channel] |= some or not node.operation.zeroing

    def _nonzero(self, planes: Planes, value: Tensor) -> dict[int, bool]:
        """Return, by component, whether a tensor is anything but zero in some place of its channel."""
        found: dict[int, bool] = {}
        for plane in planes:
            ids = plane.core
            alike = [d for d in range(ids.dim()) if ids.shape[d] == 1]
            some = (value != 0).amax(alike, keepdim=True) if alike else value != 0
            for channel in (0, 1):
                there = (some.expand(ids.shape).cpu() == bool(channel)).numpy()
                for c in np.unique(self.component[ids.numpy()[there]]).tolist():
                    found[c] = found.get(c, False) or bool(channel)
        return found


def _passed_on(func: Any, args: Any, kwargs: Any) -> Any:
    """Return what an activation makes, and its input where it makes zeros of that (and of zero)."""
    x = args[0].clone()
    out = func(*args, **kwargs)
    others = any(isinstance(a, Tensor) and a.dim() for a in args[1:])
    if others or not isinstance(out, Tensor) or out.shape != x.shape or out.dtype != x.dtype:
        return out
    cut = (out == 0) & (x != 0)
    return out.copy_(torch.where(cut, x, out)) if out.is_floating_point() else out
