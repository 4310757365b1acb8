"""Inputs and weights that a proof is made on: the example, and drawn inputs with changed weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Generator, Tensor, nn

from isoprune.graph import Graph
from isoprune.graph.cloning import tensor_names
from isoprune.graph.inputs import Sizes, drawn_inputs, other_sizes
from isoprune.graph.labels import keep_mask, restrict
from isoprune.graph.recording import Pass
from isoprune.graph.trace import record_way
from isoprune.pruning.weight_norms import Norm, Spectral, weight_norms
from isoprune.types import IsopruneError
from isoprune.types.seeded import seeded

_ROUNDED = 1e-6  # more than what a float32 is off by, less than any fault
_AMPLITUDE = 0.1  # of the drawn change of a weight, of its size: enough to be seen, too little to overflow
_STATISTICS = ("running_mean", "running_var")


class Unlike(IsopruneError):
    """A trial whose recorded channels are not those of the example."""


@dataclass(frozen=True)
class Trial:
    """A recorded way to compare two networks on, its graph, and the seed of the change of weights."""

    name: str
    inputs: Any
    way: Pass
    graph: Graph
    seed: int | None = None  # None: weights as they are

    def kept_ids(self, graph: Graph, kept: Tensor) -> Tensor:
        """Return which ids of the trial's graph stay where ``kept`` are those of ``graph``.

        Raises:
            Unlike: If there more channels are one than here, so that others would have to go too.
        """
        return kept if self.graph is graph else _transferred(graph, kept, self.graph)


def recorded_trials(graph: Graph, inputs: Any) -> list[Trial]:
    """Return a trial of every recorded way, with weights as they are; that on ``inputs`` is the first."""
    first, *further = graph.recording.passes
    named = [
        Trial(f"{way.entry} as recorded ({i})", way.entry.inputs, way, graph)
        for i, way in enumerate(further, 2)
    ]
    return [Trial("the example inputs", inputs, first, graph), *named]


def drawn_trials(model: nn.Module, graph: Graph, inputs: Any) -> Iterator[Trial]:
    """Yield trials on drawn inputs and changed weights, from the most demanding to the least.

    A network need not take the sizes of the first; the last has the sizes of the example.
    """
    for number, sizes in enumerate([*other_sizes(inputs), Sizes()]):
        drawn = drawn_inputs(inputs, sizes, seeded(number))
        try:
            recorded = record_way(model, drawn, graph.recording.outputs) if str(sizes) else graph
        except Exception:  # whatever a forward raises on sizes it was not made for
            continue
        name = f"drawn inputs ({sizes}) and weights" if str(sizes) else "drawn inputs and weights"
        yield Trial(name, drawn, recorded.recording.passes[0], recorded, number)


def _transferred(graph: Graph, kept: Tensor, other: Graph) -> Tensor:
    """Return the ids that stay in ``other``, which records the same network, where ``kept`` are."""
    component = other.component
    gone = np.zeros(int(component.max()) + 1, dtype=bool)
    for name, (planes, _) in other.tensors.items():
        here = {p.dims: p for p in graph.tensors.get(name, ((), None))[0] if not p.row}
        for p in planes:
            if not p.row and p.dims in here:
                gone[component[p.core[~kept[here[p.dims].core]].numpy()]] = True
    for row, members in other.ledger.rows:
        gone[component[row]] |= bool(gone[component[members]].all())
    left = torch.from_numpy(~gone[component])
    left[0] = True
    for name, (planes, shape) in other.tensors.items():
        masks = [keep_mask(p, k) for p, k in ((planes, left), (graph.tensors.get(name, ((), None))[0], kept))]
        mine, theirs = (torch.tensor(True) if m is None else m for m in masks)
        if not torch.equal(mine.expand(shape), theirs.expand(shape)):
            raise Unlike(f"On inputs of other sizes, other channels of {name} are one.")
    return left


def change_weights_(
    model: nn.Module,
    shapes: Graph,
    kept: Tensor | None,
    factors: Mapping[str, Tensor],
    *,
    seed: int,
    names: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Change the weights of a network at random, and those of the smaller one just so.

    Zeros and constants, which hide what is done to them, are gone then: gains and biases as they were
    initialised, dead filters. Each element is multiplied, and zeros get something added.

    Args:
        model: Whose parameters and running statistics are written to.
        shapes: The graph of the dense network.
        kept: Which of its ids the network still has; None: it is the dense one.
        factors: What weights of the smaller network were multiplied by.
        seed: Of the change.
        names: What tensors are called in the dense network, of those that have another name.
    """
    # What makes up for a norm is worked out from the weights as they are.
    normed = {name for norm in weight_norms(model, shapes) for name in norm.tensors}
    for full, tensor in tensor_names(model).values():
        if not tensor.is_floating_point():
            continue
        if not isinstance(tensor, nn.Parameter) and not full.endswith(_STATISTICS):
            continue
        masked = full.replace("parametrizations.", "").removesuffix(".original")
        name = full if full in shapes.tensors else masked
        if full in normed:
            continue
        name = names.get(name, name)
        planes, shape = shapes.tensors.get(name, ((), tensor.shape))
        change = _pattern(shape, seeded(seed + crc32(name.encode())))
        if kept is not None:
            change = restrict(change, planes, kept)
        change = change.to(tensor.device, tensor.dtype)
        zero = tensor == 0
        with torch.no_grad():
            tensor.mul_(1 + _AMPLITUDE * change)
            if bool(zero.any()):
                factor = factors.get(name) if kept is not None else None
                added = change if factor is None else change * factor.to(change)
                # Of a channel that is always the same the variance is zero; below zero none is.
                added = added.abs() if full.endswith("running_var") else added
                tensor.add_(torch.where(zero, _AMPLITUDE * added, 0))


def _pattern(shape: Sequence[int], generator: Generator) -> Tensor:
    """Return numbers in [-1, 1], unlike along every dimension: a product of vectors, drawn in no time."""
    out = torch.ones((1,) * len(shape), dtype=torch.float64)
    for d, n in enumerate(shape):
        vector = 2 * torch.rand(n, generator=generator, dtype=torch.float64) - 1
        out = out * (vector if n > 1 or len(shape) == 1 else vector.sign()).reshape(
            [-1] + [1] * (len(shape) - d - 1)
        )
    return out


def norm_factors(
    model: nn.Module, small: nn.Module, graph: Graph, kept: Tensor, norms: Sequence[Norm]
) -> dict[str, Tensor]:
    """Return what `shrink` multiplied the lengths of norms over weights by, in float64."""
    if not norms:
        return {}
    whole, little = ({n: t.detach().double() for n, t in tensor_names(m).values()} for m in (model, small))
    factors: dict[str, Tensor] = {}
    for norm in norms:
        if isinstance(norm, Spectral):
            little[norm.right] = restrict(whole[norm.right], graph.tensors[norm.right][0], kept)
        factors |= norm.factors(whole, little, graph, kept)
    return factors


def unround_(
    dense: nn.Module, small: nn.Module, graph: Graph, kept: Tensor, factors: Mapping[str, Tensor]
) -> None:
    """Give a dense copy in float64 the weights that, times their factors, are exactly those of ``small``.

    A factor that was multiplied into weights of fewer digits rounded them; a weight that differs by more
    than that stays what it is.
    """
    wide, little = (dict(tensor_names(m).values()) for m in (dense, small))
    for name, factor in factors.items():
        mine, left = wide[name], little[name].detach()
        was = left.double() / factor.to(left.device)
        now = restrict(mine.detach(), graph.tensors[name][0], kept)
        if left.dtype != torch.float64 and bool(
            ((was - now).abs() <= 2 * torch.finfo(left.dtype).eps * now.abs()).all()
        ):
            mask = keep_mask(graph.tensors[name][0], kept)
            chosen = torch.ones_like(mine, dtype=torch.bool) if mask is None else mask.expand(mine.shape)
            with torch.no_grad():
                mine[chosen.to(mine.device)] = was.reshape(-1)
    for norm in weight_norms(dense, graph):
        if isinstance(norm, Spectral):  # the norm of the whole weight, to the digits that the vector has
            double = ({n: t.detach().double() for n, t in one.items()} for one in (little, wide))
            now, before = (norm.sigma(one) for one in double)
            if bool((now / before - 1).abs() < _ROUNDED):
                with torch.no_grad():
                    wide[norm.right].mul_((now / before).to(wide[norm.right]))
