"""What methods are and give back, as types: schedules, penalties, repaired networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

Schedule = Callable[[float], float]  # progress in [0, 1] -> factor on the learning rate


@runtime_checkable
class PenaltyTerm(Protocol):
    """What a training adds to its loss; an `nn.Module` whose buffers are all that it keeps between steps."""

    steps: int  # that it needs before its channels can go

    def __call__(self, step: int) -> Tensor: ...  # steps taken so far -> scalar

    def after_(self, step: int, lr: float) -> None: ...  # after the step that follows so many, at this rate

    def state_dict(self) -> Mapping[str, Tensor]: ...

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> object: ...


@dataclass(frozen=True)
class Repaired:
    """A repaired network, and the samples that its repair took.

    A repair in closed form gives back the network alone, which is one with both counts zero.

    Attributes:
        model: The network.
        trained: Samples that its steps took, forward and backward, each with a forward of the dense network.
        judged: Samples that were only passed forward through both networks, to see when to stop.
    """

    model: nn.Module
    trained: int = 0
    judged: int = 0

    @staticmethod
    def of(made: Any) -> Repaired:
        """Return what a repair gave back, with its cost."""
        return made if isinstance(made, Repaired) else Repaired(made)

    def after(self, before: Repaired) -> Repaired:
        """Return this network with the cost of both repairs."""
        return Repaired(self.model, self.trained + before.trained, self.judged + before.judged)
