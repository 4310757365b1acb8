"""The shared vocabulary as types; nothing here computes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Generator, Tensor, nn

from isoprune.errors import IsopruneError

__all__ = [
    "Augment",
    "Batches",
    "Frozen",
    "Group",
    "IsopruneError",
    "Kept",
    "Member",
    "Penalty",
    "Plan",
    "Repair",
    "Samples",
    "Schedule",
    "Scores",
    "Splits",
]

Batches = Iterable[tuple[Tensor, Tensor]]  # (inputs, targets), as a DataLoader yields them
Scores = Mapping[str, Tensor]  # group name -> [channels]; high stays
Kept = Mapping[str, Tensor]  # group name -> bool [channels]; True stays
Augment = Callable[[Tensor, Generator], Tensor]  # a batch of inputs -> one of the same shape
Schedule = Callable[[float], float]  # progress in [0, 1] -> factor on the learning rate


@dataclass(frozen=True)
class Member:
    """Where a group's channels live in one tensor.

    ``channels`` has the tensor's number of dimensions and is broadcast against it: it holds the
    group's channel of every element, -1 where the group has none. ``role`` says what the tensor
    does with them: "out" makes them (the filters of a Linear or convolution), "in" reads them,
    "other" goes along (bias, BatchNorm, tables).
    """

    tensor: str
    dims: tuple[int, ...]
    role: str
    channels: Tensor


@dataclass(frozen=True)
class Group:
    """Channels of several tensors that can only go together."""

    name: str
    size: int
    members: tuple[Member, ...]


@dataclass(frozen=True)
class Frozen:
    """Channels that must stay, and why, in words that name the op and the module."""

    tensor: str
    dim: int
    channels: int
    reason: str


@dataclass(frozen=True)
class Plan:
    """Which channels of which group go: plain data, JSON.

    ``removed`` maps a group's name to the channels that go; ``asked`` is the ratio that was asked for.
    """

    removed: Mapping[str, tuple[int, ...]]
    asked: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Samples(Protocol):
    """One part of a data set, in memory or on the disk."""

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
class Splits:
    """Train, validation (cut from train by seed) and test; disjoint."""

    train: Samples
    validation: Samples
    test: Samples
    classes: int

    @property
    def in_shape(self) -> tuple[int, ...]:
        return self.train.in_shape


@runtime_checkable
class Penalty(Protocol):
    """What a training adds to its loss; an `nn.Module` whose buffers are all that it keeps between steps."""

    steps: int  # that it needs before its channels can go

    def __call__(self, step: int) -> Tensor: ...  # steps taken so far -> scalar

    def after_(self, step: int) -> None: ...  # after the step that follows so many

    def state_dict(self) -> Mapping[str, Tensor]: ...

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> object: ...


class Repair(Protocol):
    """A repair: network -> network before retraining (contract of `repairs/`)."""

    def __call__(
        self,
        pruned: nn.Module,
        *,
        dense: nn.Module | None,
        plan: Plan | None,
        batches: Batches | None,
        generator: Generator,
        **options: Any,
    ) -> nn.Module: ...
