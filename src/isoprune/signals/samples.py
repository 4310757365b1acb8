"""Batches of any structure, cut into samples and joined."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from isoprune.types import IsopruneError
from isoprune.types.data import Items
from isoprune.types.samples import DEFAULT_BATCH
from isoprune.types.task import are_images, samples_in


def cut(batch: Any, start: int, stop: int, *, number: int | None = None) -> Any:
    """Return some of the samples of a batch, as a batch: tensors and lists of samples are cut alike.

    A list of tuples or of mappings is one of samples; all else is made of fields. ``number`` is how many
    samples there are; None: as `samples_in` counts them.

    Raises:
        IsopruneError: If the fields of the batch do not hold so many samples each.
    """
    number = samples_in(batch) if number is None else number
    if (start, stop) == (0, number):
        return batch
    if are_images(batch) or (isinstance(batch, list) and batch and isinstance(batch[0], tuple | Mapping)):
        return batch[start:stop]
    return _map_fields(lambda field: _part(field, number, start, stop), batch)


def _map_fields(of: Callable[[Any], Any], value: Any) -> Any:
    """Apply ``of`` to every field of a tuple, list or mapping; to the value itself, if it is none."""
    if isinstance(value, Mapping):
        return {key: of(field) for key, field in value.items()}
    return type(value)(map(of, value)) if isinstance(value, tuple | list) else of(value)


def _part(field: Any, number: int, start: int, stop: int) -> Any:
    if isinstance(field, Mapping):
        return {key: _part(inner, number, start, stop) for key, inner in field.items()}
    if isinstance(field, tuple | list) and _are_inputs(field, number):
        return type(field)(inner[start:stop] for inner in field)
    if field is None or isinstance(field, bool | int | float | str):
        return field  # an option, the same for every sample
    cuts = field.dim() > 0 if isinstance(field, Tensor) else isinstance(field, list | tuple)
    if not cuts or len(field) != number:
        came = f"shape {tuple(field.shape)}" if isinstance(field, Tensor) else type(field).__name__
        raise IsopruneError(
            f"A batch of {number} samples holds a part of {came}, which cannot be cut into samples. Pass "
            "batches of one sample each, or batches whose tensors all begin with the samples."
        )
    return field[start:stop]


def _are_inputs(field: Sequence[Any], number: int) -> bool:
    """Whether a list is one of several collated inputs; else it is one of samples."""
    rows = all(isinstance(inner, Tensor) and inner.dim() and len(inner) == number for inner in field)
    images = len(field) == number and number in (3, 4) and all(inner.dim() == 3 for inner in field if rows)
    return rows and not images  # three images of three channels are samples


def pieces(batch: Any, most: int, *, number: int) -> Iterator[Any]:
    """Yield a batch of ``number`` samples as batches of at most ``most``."""
    for start in range(0, number, most):
        yield cut(batch, start, min(start + most, number), number=number)


@dataclass(frozen=True)
class Pieces:
    """Batches of at most ``most`` samples, cut from others as they come."""

    batches: Iterable[Any]
    samples: Callable[[Any], int]
    most: int

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            yield from pieces(batch, self.most, number=self.samples(batch))


def batches_of(data: Any) -> Any:
    """Return data as what yields batches, as often as it is asked to.

    A Dataset or `Samples` come in their order, and of what can be passed through only once (a generator) what
    was read is kept in memory; all else is as it is.

    Raises:
        IsopruneError: For a tensor, whose rows would be taken for batches.
    """
    if isinstance(data, Tensor):
        raise IsopruneError(
            f"batches is one tensor, of shape {tuple(data.shape)}. Give a list of batches, such as "
            "[tensor] or [(inputs, targets), ...], or a DataLoader."
        )
    if isinstance(data, Iterator):
        return _Kept(data)
    if isinstance(data, Items):
        return _InOrder(data)
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        return DataLoader(data, batch_size=DEFAULT_BATCH)
    return data


@dataclass(frozen=True)
class _Kept:
    """What an iterator yields, again and again; no more of it is read than somebody wants."""

    source: Iterator[Any]
    read: list[Any] = field(default_factory=list)

    def __iter__(self) -> Iterator[Any]:
        for place in itertools.count():
            if place == len(self.read):
                if (batch := next(self.source, self)) is self:
                    return
                self.read.append(batch)
            yield self.read[place]


@dataclass(frozen=True)
class _InOrder:
    items: Items

    def __iter__(self) -> Iterator[Any]:
        return self.items.batches(torch.arange(len(self.items)).split(DEFAULT_BATCH))

    def __len__(self) -> int:
        return -(-len(self.items) // DEFAULT_BATCH)


_JUDGES = 8  # one sample of so many


def every_eighth(samples: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Return every eighth sample, which judges, and the others, which weights may be fitted to."""
    return list(samples[::_JUDGES]), [x for i, x in enumerate(samples) if i % _JUDGES]


def in_batches(samples: Sequence[Any], size: int) -> list[Any]:
    """Return samples, each a batch of one, as batches of ``size``; the last may be smaller."""
    return [joined(samples[i : i + size]) for i in range(0, len(samples), size)]


def joined(parts: Sequence[Any]) -> Any:
    """Return inputs of any structure as one: tensors and lists of samples joined along the samples.

    Raises:
        IsopruneError: If tensors differ in another dimension.
    """
    first = parts[0]
    if isinstance(first, Mapping):
        return {key: _end_to_end([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple | list) and not are_images(first):
        return type(first)(_end_to_end(same) for same in zip(*parts, strict=True))
    return _end_to_end(parts)


def _end_to_end(fields: Sequence[Any]) -> Any:
    first = fields[0]
    if isinstance(first, Tensor) and first.dim():
        if len(shapes := {tuple(field.shape[1:]): None for field in fields}) > 1:
            some, others = list(shapes)[:2]
            raise IsopruneError(
                f"Samples of shapes {some} and {others} do not go into one batch. Pass samples of one shape: "
                "crop, resize or pad them."
            )
        return torch.cat(list(fields))
    if isinstance(first, Mapping):
        return {key: _end_to_end([field[key] for field in fields]) for key in first}
    return type(first)(x for field in fields for x in field) if isinstance(first, tuple | list) else first
