"""Random streams: one generator for each stage, made from the seed and the stage's name."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor, nn

from isoprune.experiment.config import Choice
from isoprune.experiment.signatures import bind, find
from isoprune.types import Samples
from isoprune.types.samples import inputs_at
from isoprune.types.seeded import derived_seed, lent_generators, seeded


def generator(seed: int, stage: str) -> Generator:
    """Return the generator of ``stage``; no other stage draws from it."""
    return seeded(derived_seed(seed, stage))


def build_model(choice: Choice, in_shape: tuple[int, ...], classes: int, *, seed: int) -> nn.Module:
    """Return the chosen network, its weights drawn from the experiment's seed alone."""
    make = bind("model", choice)
    if "generator" in inspect.signature(find("model", choice.name)).parameters:
        return make(in_shape, classes, generator=generator(seed, "model"))
    # An outsider's network may know only torch's global generator: it is lent a state for this one call.
    with lent_generators(derived_seed(seed, "model")):
        return make(in_shape, classes)


@dataclass(frozen=True)
class SeededBatches:
    """Batches of a split in an order that is the same at every pass.

    ``passes`` counts the samples that each pass gave: the longest one read what all others did.
    """

    split: Samples
    batch: int
    seed: int
    most: int | None = None  # batches in all; None: the whole split once
    passes: list[int] = field(default_factory=list, repr=False, compare=False)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.split), generator=generator(self.seed, "batches"))
        place = len(self.passes)
        self.passes.append(0)
        for inputs, targets in self.split.batches(order.split(self.batch)[: self.most]):
            self.passes[place] += len(targets)
            yield inputs, targets

    @property
    def read(self) -> int:
        """How many different samples were given so far."""
        return max(self.passes, default=0)


def batches(choice: Choice, train: Samples, *, batch: int, seed: int) -> SeededBatches:
    """Return what a method may look at: all training data, or its option ``batches`` many batches."""
    options: Mapping = choice.options
    return SeededBatches(train, batch, seed, options.get("batches"))


def jsv_inputs(split: Samples, samples: int, *, seed: int) -> Tensor:
    """Return ``samples`` fixed inputs; fewer samples are the first of more."""
    order = torch.randperm(len(split), generator=generator(seed, "measure"))
    return inputs_at(split, order[:samples])
