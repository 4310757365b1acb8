"""The first learning rate to the end."""

from __future__ import annotations

from isoprune.methods.schedules.step_decay import StepDecay
from isoprune.types import Schedule
from isoprune.types.method import method


@method("schedule")
def constant() -> Schedule:
    """Return the schedule that is 1 everywhere."""
    return StepDecay(boundaries=(), gamma=1.0)
