"""Data of any kind as items with places, which a training can shuffle, and go on from anywhere."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy
import torch
from torch import Generator, Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    default_collate,
)

from isoprune.types import Data, IsopruneError, Samples, Splits
from isoprune.types.data import Items
from isoprune.types.samples import DEFAULT_BATCH, Subset
from isoprune.types.seeded import lent_generators

logger = logging.getLogger("isoprune")


@dataclass(frozen=True)
class Batching:
    """Items and how many of them make a step.

    ``items`` has ``batches`` as `Samples` have. ``resumable`` is False for loaders that only yield: each of
    their items is a batch, which comes when it comes.
    """

    items: Items
    batch: int
    shuffled: bool = True
    drop_last: bool = False
    resumable: bool = True
    whole_batches: bool = False  # whether an item is a batch

    def __len__(self) -> int:
        return len(self.items)

    @property
    def steps(self) -> int:
        """How many steps an epoch has."""
        return len(self) // self.batch if self.drop_last else -(-len(self) // self.batch)

    @property
    def used(self) -> int:
        """How many of the items an epoch takes."""
        return self.steps * self.batch if self.drop_last else len(self)

    @property
    def targets(self) -> Tensor | None:
        """All labels, where they are at hand."""
        return getattr(self.items, "targets", None)

    def order(self, generator: Generator) -> Tensor:
        """Return the places of an epoch's items, in their order; a shuffled one is drawn."""
        order = torch.randperm(len(self), generator=generator) if self.shuffled else torch.arange(len(self))
        order = order[: self.used]
        return order if self.targets is None else order.to(self.targets.device)

    def first(self) -> Any:
        """Return a batch of the first item: always the same one."""
        return next(iter(self.items.batches([torch.arange(1)], seeds=[0])))

    def part(self, indices: Tensor) -> Batching:
        return replace(self, items=Subset(self.items, indices))

    def to(self, device: torch.device) -> Batching:
        return replace(self, items=self.items.to(device)) if isinstance(self.items, Samples) else self


def data_of(data: Any, train: Any = None, validation: Any = None) -> Data | Splits:
    """Return what a verb was given to train on: `Splits` or `Data`, or training data alone, or its parts.

    Raises:
        IsopruneError: If there is nothing to train on, or a part came twice.
    """
    whole = isinstance(data, Data | Splits)
    parts = {"train": train} | ({"validation": validation} if whole else {})
    if data is not None and (twice := [f"{name}=" for name, part in parts.items() if part is not None]):
        raise IsopruneError(
            f"The data came as the first argument and as {' and '.join(twice)}. Give them once."
        )
    if not whole:
        data = Data(data if train is None else train, validation)
    if data.train is None:
        raise IsopruneError("There is nothing to train on. Give train=loader and validation=loader.")
    return data


def source_of(data: Any, batch: int | None = None) -> Batching:
    """Return data as a source; ``batch`` is for what has no size of its own.

    Raises:
        IsopruneError: If it is no data, empty, or can be read only once.
    """
    if isinstance(data, Batching):
        return data
    source = _read(data, batch)
    if not len(source):
        raise IsopruneError("The split holds no sample, so it has no accuracy. Look at how the data was cut.")
    return source


def _read(data: Any, batch: int | None) -> Batching:
    if isinstance(data, Tensor) or _are_columns(data):
        kind = "a tensor" if isinstance(data, Tensor) else "inputs and targets"
        raise IsopruneError(
            f"The data is {kind}, which does not say what a batch is. Give a list of batches, such as "
            "[(inputs, targets), ...], or torch.utils.data.TensorDataset(inputs, targets)."
        )
    if isinstance(data, Samples):
        return Batching(data, batch or DEFAULT_BATCH)
    if isinstance(data, DataLoader):
        return _of_loader(data, batch)
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        return Batching(_Items(data), batch or DEFAULT_BATCH)
    if isinstance(data, Sequence) and not isinstance(data, str):
        return Batching(_Given(data), 1, whole_batches=True)
    if not hasattr(data, "__iter__") or isinstance(data, Iterator | str):
        raise IsopruneError(
            f"A {type(data).__name__} is no data that can be read epoch after epoch. Give a DataLoader, a "
            "Dataset, or a list of batches."
        )
    return _stream(data)


def _are_columns(data: Any) -> bool:
    """Return whether this is (inputs, targets) of all samples; a pair of batches of inputs has one shape."""
    if (
        not isinstance(data, tuple)
        or len(data) != 2
        or not all(isinstance(t, Tensor) and t.dim() for t in data)
    ):
        return False
    return len(data[0]) == len(data[1]) and data[0].shape != data[1].shape


def _of_loader(loader: DataLoader[Any], batch: int | None) -> Batching:
    if batch is not None and loader.batch_size not in (None, batch):
        raise IsopruneError(
            f"batch is {batch} and the DataLoader's {loader.batch_size}. Leave batch out: that of the "
            "DataLoader counts."
        )
    sampler = loader.sampler
    plain = type(sampler) is SequentialSampler or (
        type(sampler) is RandomSampler
        and not sampler.replacement
        and sampler.num_samples == len(loader.dataset)  # pyright: ignore[reportArgumentType]  it is map-style
    )
    own = type(loader).__iter__ is not DataLoader.__iter__
    if own or not plain or type(loader.batch_sampler) is not BatchSampler or loader.batch_size is None:
        return _stream(loader)
    items = _Items(loader.dataset, loader.collate_fn, loader)
    return Batching(items, loader.batch_size, type(sampler) is RandomSampler, loader.drop_last)


def _stream(loader: Any) -> Batching:
    return Batching(_Stream(loader), 1, shuffled=False, resumable=False, whole_batches=True)


def note_stream() -> None:
    """Log once for a training what is lost with a loader that does not know the places of its samples."""
    logger.warning(
        "The training data is a loader without places of its samples: their order is its own, so another "
        "run with the same seed may differ, and an interrupted one goes on from its last whole epoch. A "
        "map-style Dataset, or a DataLoader over one with its usual sampler, has neither limit."
    )


@dataclass(frozen=True)
class _Steps:
    """The batches of ``parts``, each drawn by its seed: the same from one process as from eight workers."""

    dataset: Any
    collate: Callable[[Any], Any]
    parts: Sequence[list[int]]
    seeds: Sequence[int] | None

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, place: int) -> Any:
        part = self.parts[place]
        with _generators(None if self.seeds is None else self.seeds[place]):
            together = getattr(self.dataset, "__getitems__", None)
            return self.collate(together(part) if together is not None else [self.dataset[i] for i in part])


@contextmanager
def _generators(seed: int | None) -> Iterator[None]:
    """Lend the generators that a Dataset may draw from, at a seed; afterwards they are as before."""
    states = random.getstate(), numpy.random.get_state()
    with lent_generators(seed):
        if seed is not None:
            random.seed(seed)
            numpy.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(states[0])
            numpy.random.set_state(states[1])


@dataclass(frozen=True)
class _Items:
    """The samples of a map-style Dataset, read as its DataLoader would."""

    dataset: Any
    collate: Callable[[Any], Any] = default_collate
    loader: DataLoader[Any] | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def batches(self, parts: Sequence[Tensor], *, seeds: Sequence[int] | None = None) -> Iterator[Any]:
        steps: Any = _Steps(self.dataset, self.collate, [part.tolist() for part in parts], seeds)
        loader = self.loader
        if len(steps) == 1 or loader is None or not (loader.num_workers or loader.pin_memory):
            return (steps[place] for place in range(len(steps)))
        again = DataLoader(
            steps,
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=loader.num_workers,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            prefetch_factor=loader.prefetch_factor,
            generator=Generator(),  # else torch's own would be drawn from
        )
        return iter(again)


def _as_it_is(batch: Any) -> Any:
    return batch


@dataclass(frozen=True)
class _Given:
    """A sequence of batches, each of them an item."""

    given: Sequence[Any]

    def __len__(self) -> int:
        return len(self.given)

    def batches(self, parts: Sequence[Tensor], **_: Any) -> Iterator[Any]:
        return (self.given[int(part)] for part in parts)


class _Stream:
    """What a loader yields, pass after pass."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        try:
            self.length = len(loader)
        except TypeError:
            # The schedule has to know how many steps there are.
            with _generators(None):
                self.length = sum(1 for _ in loader)

    def __len__(self) -> int:
        return self.length

    def batches(self, parts: Sequence[Tensor], **_: Any) -> Iterator[Any]:
        seen = 0
        for batch in islice(self.loader, len(parts)):
            seen += 1
            yield batch
        if seen < len(parts):
            raise IsopruneError(
                f"The loader gave {seen} batches where {len(parts)} were due: its length says more than it "
                "yields. Mend its __len__, or leave it out."
            )
