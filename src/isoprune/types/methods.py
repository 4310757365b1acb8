"""What methods are, as types: schedules, penalties, repairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Generator, Tensor, nn

from isoprune.types.data import Batches
from isoprune.types.plan import Plan

Schedule = Callable[[float], float]  # progress in [0, 1] -> factor on the learning rate


@runtime_checkable
class Penalty(Protocol):
    """What a training adds to its loss; an `nn.Module` whose buffers are all that it keeps between steps."""

    steps: int  # that it needs before its channels can go

    def __call__(self, step: int) -> Tensor: ...  # steps taken so far -> scalar

    def after_(self, step: int, lr: float) -> None: ...  # after the step that follows so many, at this rate

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
