"""What data is, as types: batches, samples, splits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Generator, Tensor

Batches = Iterable[Any]  # whatever a DataLoader yields; a task says what is what in a batch
Augment = Callable[[Tensor, Generator], Tensor]  # a batch of inputs -> one of the same shape


@runtime_checkable
class Items(Protocol):
    """What is addressed by its place: samples of any task, or whole batches."""

    def __len__(self) -> int: ...

    def batches(self, parts: Sequence[Tensor], *, seeds: Sequence[int] | None = None) -> Iterator[Any]:
        """Yield a batch for each part, as `Samples.batches` does."""
        ...


@runtime_checkable
class Samples(Protocol):
    """One part of a labelled data set, in memory or on the disk."""

    @property
    def targets(self) -> Tensor: ...  # [n], all of them

    @property
    def in_shape(self) -> tuple[int, ...]: ...  # of one sample

    def __len__(self) -> int: ...

    def batches(
        self, parts: Sequence[Tensor], *, seeds: Sequence[int] | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield inputs and targets of each part, a tensor of indices, in turn.

        Without ``seeds`` samples come as they are measured. With them they come as they are trained on: what
        is drawn for a part (crops, flips) depends on its seed alone, so a training can go on from any part.
        """
        ...

    def to(self, device: torch.device) -> Samples:
        """Return the same samples on ``device`` if they are in memory; others are moved batch by batch."""
        ...


@dataclass(frozen=True)
class Data:
    """What is trained on and what is judged on.

    Each is `Samples`, a torch Dataset, a DataLoader, or a sequence of batches.
    """

    train: Any
    validation: Any = None


@dataclass(frozen=True)
class Preprocessing:
    """How an image file becomes an input: the shorter side is brought to ``resize`` pixels, the middle is cut
    out, and pixels of [0, 1] become (x - ``mean``) / ``std``, a number a channel.

    ``transform``, ``"module:function"``, stands for all of it: it takes a Pillow image and gives the input.
    """

    resize: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"
    transform: str | None = None


@dataclass(frozen=True)
class Splits:
    """Train, validation (cut from train by seed) and test; disjoint. It does as `Data`.

    ``names`` are those of the classes, and ``preprocessing`` how image files became inputs, if that is known.
    """

    train: Samples
    validation: Samples
    test: Samples
    classes: int
    names: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None

    @property
    def in_shape(self) -> tuple[int, ...]:
        return self.train.in_shape
