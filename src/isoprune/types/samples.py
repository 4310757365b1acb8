"""Samples in memory, and how single inputs are read from samples of any kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from isoprune.types import Augment, Samples


@dataclass(frozen=True)
class Split:
    """Samples in memory: inputs [n, ...] and targets [n]; ``augment`` changes batches to be trained on."""

    inputs: Tensor
    targets: Tensor
    augment: Augment | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def in_shape(self) -> tuple[int, ...]:
        return tuple(self.inputs.shape[1:])

    def batches(
        self, parts: Sequence[Tensor], *, seeds: Sequence[int] | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for number, part in enumerate(parts):
            chosen = part.to(self.targets.device)
            inputs = self.inputs.index_select(0, chosen)
            if self.augment is not None and seeds is not None:
                inputs = self.augment(inputs, Generator().manual_seed(seeds[number]))
            yield inputs, self.targets.index_select(0, chosen)

    def to(self, device: torch.device) -> Split:
        return Split(self.inputs.to(device), self.targets.to(device), self.augment)


@dataclass(frozen=True)
class Part:
    """Some of the samples ``of`` a split, in the order of ``indices`` [k]."""

    of: Samples
    indices: Tensor

    @property
    def targets(self) -> Tensor:
        return self.of.targets[self.indices]

    @property
    def in_shape(self) -> tuple[int, ...]:
        return self.of.in_shape

    def __len__(self) -> int:
        return len(self.indices)

    def batches(
        self, parts: Sequence[Tensor], *, seeds: Sequence[int] | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        return self.of.batches([self.indices[part.to(self.indices.device)] for part in parts], seeds=seeds)

    def to(self, device: torch.device) -> Part:
        of = self.of.to(device) if hasattr(self.of, "to") else self.of
        return Part(of, self.indices.to(getattr(of, "targets", self.indices).device))


def inputs_at(samples: Samples, indices: Tensor) -> Tensor:
    """Return the inputs of ``indices`` [k], as they are measured: [k, ...]."""
    return next(iter(samples.batches([indices])))[0]
