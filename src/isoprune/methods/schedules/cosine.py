"""Half a cosine from the first learning rate down to a floor."""

from __future__ import annotations

from dataclasses import dataclass

from isoprune.methods.schedules.curves import check_floor, half_cosine
from isoprune.types import Schedule
from isoprune.types.method import method


@dataclass(frozen=True)
class Cosine:
    """progress -> factor: 1 at 0, ``floor`` at 1."""

    floor: float

    def __call__(self, progress: float) -> float:
        return half_cosine(1.0, self.floor, progress)


@method("schedule", source="Loshchilov & Hutter, ICLR 2017, arXiv 1608.03983")
def cosine(*, floor: float = 0.0) -> Schedule:
    r"""Return the factor :math:`f + \frac{1 - f}{2} (1 + \cos \pi p)` with ``floor`` f at progress p.

    With floor 0 the last step still has a rate above zero: progress 1 is the end of that step.

    Raises:
        IsopruneError: If ``floor`` is outside [0, 1].
    """
    check_floor(floor)
    return Cosine(floor)
