"""Triangles between a base and a peak."""

from __future__ import annotations

import math
from dataclasses import dataclass

from isoprune.methods.schedules.curves import check_epochs, part_of_run, straight
from isoprune.types import IsopruneError, Schedule
from isoprune.types.method import method


@dataclass(frozen=True)
class Triangles:
    """progress -> factor: ``base`` to the peak in ``half`` of the run and back; peaks shrink by ``decay``."""

    half: float
    base: float
    decay: float

    def __call__(self, progress: float) -> float:
        cycle = math.floor(progress / (2 * self.half))
        height = 1 - abs(progress / self.half - 2 * cycle - 1)
        # Rounding can put the foot of a triangle an ulp below its base.
        return straight(self.base, 1.0, max(0.0, height) * self.decay**cycle)


@method("schedule", source="Smith, WACV 2017, arXiv 1506.01186")
def cyclical(
    *, epochs: int | float, step_size: int | float, base: float = 0.25, decay: float = 1.0
) -> Schedule:
    """Return triangles that rise from ``base`` to 1 in ``step_size`` and fall back as fast.

    The learning rate is the first peak. Momentum stays as it is.

    Args:
        epochs: How many there are in all.
        step_size: Half a cycle. An integer counts epochs (the source advises 2 to 10), a float is a part of
            the run.
        base: Where a triangle stands, a factor; a third or a quarter in the source.
        decay: Each triangle is so many times as high as the one before it: 1 is the source's "triangular",
            0.5 its "triangular2".

    Raises:
        IsopruneError: If a number is out of its range.
    """
    check_epochs(epochs)
    half = part_of_run(step_size, "step_size", epochs)
    for name, factor in (("base", base), ("decay", decay)):
        if not 0 < factor <= 1:
            raise IsopruneError(f"{name} = {factor}; it is a factor above 0 and at most 1.")
    return Triangles(half, base, decay)
