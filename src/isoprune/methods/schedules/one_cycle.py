"""One rise to the peak and one fall to almost nothing, both along a cosine."""

from __future__ import annotations

from dataclasses import dataclass

from isoprune.methods.schedules.curves import half_cosine
from isoprune.types import IsopruneError, Schedule
from isoprune.types.method import method


@dataclass(frozen=True)
class OneCycle:
    """progress -> factor: ``start`` at 0, 1 at ``rise``, ``end`` at 1."""

    rise: float
    start: float
    end: float

    def __call__(self, progress: float) -> float:
        if progress < self.rise:
            return half_cosine(self.start, 1.0, progress / self.rise)
        return half_cosine(1.0, self.end, (progress - self.rise) / (1 - self.rise))


@method("schedule", source="Smith & Topin, 2017, arXiv 1708.07120")
def one_cycle(*, rise: float = 0.25, start: float = 0.04, end: float = 1e-4) -> Schedule:
    """Return the factor that rises from ``start`` to 1 in the part ``rise`` of the run and falls to ``end``.

    The learning rate is the peak. Momentum stays as it is. Defaults as those of torch's OneCycleLR, but for a
    shorter rise, since a pruned network has been trained before.

    Raises:
        IsopruneError: If ``rise`` is outside [0, 1), or ``start`` or ``end`` outside (0, 1].
    """
    if not 0 <= rise < 1:
        raise IsopruneError(f"rise = {rise}; it is the part of the run that rises, from 0 to below 1.")
    for name, factor in (("start", start), ("end", end)):
        if not 0 < factor <= 1:
            raise IsopruneError(f"{name} = {factor}; it is a factor on the peak rate, above 0 and at most 1.")
    return OneCycle(rise, start, end)
