"""How units are scored: the criterion, and what it may look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from isoprune.methods.criteria import scores_of
from isoprune.signals import Signals
from isoprune.types import Scores, Task, Units
from isoprune.types.seeded import seeded


@dataclass(frozen=True)
class Scorer:
    """How units are scored: the criterion and what it may look at."""

    criterion: str | Callable[..., Scores]
    batches: Iterable[Any] | None
    task: Task
    seed: int

    def of(self, model: nn.Module) -> Callable[[tuple[Units, ...]], Scores]:
        """Return what scores units of a network; its data is gone through once for all calls."""
        signals = Signals(model, self.batches, self.task)

        def scores(units: tuple[Units, ...]) -> Scores:
            generator = seeded(self.seed)
            return scores_of(self.criterion, signals, units, generator=generator)

        return scores
