"""What one recorded forward leaves behind: its operations, and the channels of every tensor in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from isoprune.graph.labels import Planes
from isoprune.graph.operations import Operation
from isoprune.graph.sizes import Claim

Tensors = Mapping[str, tuple[Planes, torch.Size]]


@dataclass(frozen=True)
class Node:
    """One recorded operation: the planes and shapes that came in and went out."""

    numbers: tuple[float, ...]  # floats among the arguments: a scale computed from a width would change
    reads: tuple[int, ...]  # keys of the tensors that came in, and
    writes: tuple[int, ...]  # of those that went out
    operation: Operation
    module: str
    inputs: tuple[tuple[Planes, torch.Size], ...]
    outputs: tuple[tuple[Planes, torch.Size], ...]
    transposed: bool = False  # of a convolution

    @property
    def op(self) -> str:
        return self.operation.name

    @property
    def where(self) -> str:
        return f"{self.op} in {self.module or 'the network'}"


@dataclass(frozen=True)
class Recording:
    """What a trace saw, before anything is concluded from it."""

    example_inputs: Any
    tensors: Tensors
    nodes: Sequence[Node]
    claims: Sequence[Claim]
    names: Mapping[int, str]  # of the parameters and buffers, by the key under which nodes read them
    uniform: bool = False  # whether a constant took its width from an attribute
