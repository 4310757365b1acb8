"""Samples in memory, and how single inputs are read from samples of any kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from isoprune.types import Augment, Samples
from isoprune.types.data import Items
from isoprune.types.seeded import seeded

DEFAULT_BATCH = 100  # samples, where data has samples and nothing says how many go together


@dataclass(frozen=True)
class Split:
    """Samples in memory: inputs [n, ...] and targets [n]; ``augment`` changes batches to be trained on."""

    inputs: Tensor
    targets: Tensor
    augment: Augment | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        """Return one sample: a split is a Dataset for torch's DataLoader too."""
        return self.inputs[place], self.targets[place]

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
                inputs = self.augment(inputs, seeded(seeds[number]))
            yield inputs, self.targets.index_select(0, chosen)

    def to(self, device: torch.device) -> Split:
        return Split(self.inputs.to(device), self.targets.to(device), self.augment)


@dataclass(frozen=True)
class Subset:
    """Some of the samples ``of`` a split, in the order of ``indices`` [k]."""

    of: Items
    indices: Tensor

    @property
    def targets(self) -> Tensor:
        return self._samples.targets[self.indices]

    @property
    def in_shape(self) -> tuple[int, ...]:
        return self._samples.in_shape

    @property
    def _samples(self) -> Samples:
        if not isinstance(self.of, Samples):
            raise AttributeError("Items of a task without labels at hand")
        return self.of

    def __len__(self) -> int:
        return len(self.indices)

    def batches(self, parts: Sequence[Tensor], *, seeds: Sequence[int] | None = None) -> Iterator[Any]:
        return self.of.batches([self.indices[part.to(self.indices.device)] for part in parts], seeds=seeds)

    def to(self, device: torch.device) -> Subset:
        if not isinstance(self.of, Samples):
            return self  # moved batch by batch
        of = self.of.to(device)
        return Subset(of, self.indices.to(of.targets.device))


def inputs_at(samples: Samples, indices: Tensor) -> Tensor:
    """Return the inputs of ``indices`` [k], as they are measured: [k, ...]."""
    return next(iter(samples.batches([indices])))[0]
