"""A recorded forward: its operations, and the channels of every tensor in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from isoprune.graph.entries import EntryPoint
from isoprune.graph.labels import Planes
from isoprune.graph.operations import Operation
from isoprune.graph.reads import Read, Reads
from isoprune.graph.sizes import SizeClaim

Tensors = Mapping[str, tuple[Planes, torch.Size]]


@dataclass(frozen=True)
class Node:
    """One recorded operation: the planes and shapes that came in and went out."""

    numbers: tuple[float, ...]  # among the arguments: a scale computed from a width would change
    reads: tuple[int, ...]  # keys of the tensors that came in, and
    writes: tuple[int, ...]  # of those that went out
    operation: Operation
    module: str
    inputs: tuple[tuple[Planes, torch.Size], ...]
    outputs: tuple[tuple[Planes, torch.Size], ...]
    transposed: bool = False  # of a convolution
    of_weights: bool = False  # no activation came in
    picks: tuple[Any, ...] = ()  # of a slice or a single position: dimension, and where
    over: frozenset[int] = frozenset()  # the dimensions of the first input that a statistic runs over
    constants: tuple[str, ...] = ()  # the values of small tensors that depend on nothing that came in

    @property
    def op(self) -> str:
        return self.operation.name

    @property
    def where(self) -> str:
        return f"{self.op} in {self.module or 'the network'}"


@dataclass(frozen=True)
class Pass:
    """One recorded way through the network: how it was called, what ran, what it read of its values."""

    entry: EntryPoint
    nodes: Sequence[Node] = ()
    reads: Sequence[Read] = ()
    values: bool = False  # whether it was computed, and not only followed
    constants: Sequence[int] = ()  # the numbers of the constants of equal values that took on channels
    outputs: Sequence[int] = ()  # the keys of the tensors that came out

    def answers(self) -> Reads:
        """Return the values that this pass read, to be replayed."""
        return Reads(self.reads, values=self.values, complete=True)


@dataclass(frozen=True)
class Recording:
    """What a trace saw, before anything is concluded from it.

    The first pass is that on the example inputs.
    """

    passes: Sequence[Pass]
    tensors: Tensors
    claims: Sequence[SizeClaim]
    names: Mapping[int, str]  # of the parameters and buffers, by the key under which nodes read them
    unrun: tuple[str, ...] = ()  # parameters that took no part in any pass

    @property
    def also(self) -> tuple[EntryPoint, ...]:
        """The further calls that the user listed."""
        given = {id(p.entry): p.entry for p in self.passes[1:] if not p.entry.training}
        return tuple(entry for entry in given.values() if entry is not self.passes[0].entry)

    @property
    def outputs(self) -> tuple[str | int, ...]:
        """Which outputs count; empty: all."""
        return self.passes[0].entry.outputs if self.passes else ()

    @property
    def example_inputs(self) -> Any:
        return self.passes[0].entry.inputs if self.passes else None

    @property
    def nodes(self) -> Sequence[Node]:
        return self.passes[0].nodes if self.passes else ()
