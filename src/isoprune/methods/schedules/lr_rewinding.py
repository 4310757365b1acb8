"""The last part of the dense training's schedule once more, with the trained weights."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from isoprune.methods.schedules.curves import check_epochs, snapped
from isoprune.methods.schedules.nested import Make, made
from isoprune.methods.schedules.step_decay import step_decay
from isoprune.types import IsopruneError, Schedule
from isoprune.types.method import method


@dataclass(frozen=True)
class Replay:
    """progress -> what ``dense`` gave in the last ``epochs`` of its ``dense_epochs``."""

    dense: Schedule
    dense_epochs: int
    epochs: int | float

    def __call__(self, progress: float) -> float:
        first = self.dense_epochs - self.epochs
        return self.dense(snapped(first + progress * self.epochs) / self.dense_epochs)


@method("schedule", source="Renda, Frankle & Carbin, ICLR 2020, arXiv 2003.02389")
def lr_rewinding(
    *,
    epochs: int | float,
    dense_epochs: int,
    milestones: Sequence[int | float] | None = None,
    gamma: float = 0.1,
    schedule: Make | None = None,
) -> Schedule:
    """Return the last ``epochs`` of a dense training's schedule.

    The learning rate is the dense training's first. In an experiment the options may all be left out: they
    are then those of its own ``[dense]``.

    Args:
        epochs: Of retraining.
        dense_epochs: Of the dense training.
        milestones: Of its step decay, as `step_decay` takes them; or give ``schedule``.
        gamma: Of its step decay.
        schedule: The dense training's, of any kind.

    Raises:
        IsopruneError: If there is more to replay than there was, both schedule and milestones or neither are
            given, or one of them is refused.
    """
    check_epochs(epochs)
    if epochs > dense_epochs:
        raise IsopruneError(
            f"epochs = {epochs:g}, and the dense training that lr_rewinding replays had {dense_epochs}. "
            f"Retrain for {dense_epochs} epochs or fewer."
        )
    if (milestones is None) == (schedule is None):
        raise IsopruneError(
            "lr_rewinding replays either a step decay, given by its milestones, or a schedule. "
            f"{'None' if milestones is None else 'Both'} came: give one of them."
        )
    if schedule is None:
        schedule = functools.partial(step_decay, milestones=milestones or (), gamma=gamma)
    return Replay(made(schedule, epochs=dense_epochs), dense_epochs, epochs)
