"""A straight line from the first learning rate down to a floor."""

from __future__ import annotations

from dataclasses import dataclass

from isoprune.methods.schedules.curves import check_floor, straight
from isoprune.types import Schedule
from isoprune.types.method import method


@dataclass(frozen=True)
class Linear:
    """progress -> factor: 1 at 0, ``floor`` at 1."""

    floor: float

    def __call__(self, progress: float) -> float:
        return straight(1.0, self.floor, progress)


@method("schedule")
def linear(*, floor: float = 0.0) -> Schedule:
    """Return the factor that falls evenly from 1 to ``floor``.

    Raises:
        IsopruneError: If ``floor`` is outside [0, 1].
    """
    check_floor(floor)
    return Linear(floor)
