"""How a penalty grows: by steps of equal size and length, up to a ceiling."""

from __future__ import annotations

import math
from dataclasses import dataclass

from isoprune.types import IsopruneError


@dataclass(frozen=True)
class Growth:
    """The strength after t steps, min(ceiling, size * floor(t / interval))."""

    size: float
    interval: int
    ceiling: float

    def __post_init__(self) -> None:
        if not 0 < self.size <= self.ceiling < math.inf or self.interval < 1:
            raise IsopruneError(
                f"growth = {self.size}, ceiling = {self.ceiling}, interval = {self.interval}: a penalty "
                "grows by growth every interval steps up to ceiling. "
                "Take 0 < growth <= ceiling, interval >= 1."
            )

    def at(self, step: int) -> float:
        return min(self.ceiling, self.size * (step // self.interval))

    @property
    def steps(self) -> int:
        """After so many it has reached its ceiling."""
        # Not beyond it by rounding: 1.0 / 1e-4 is a little more than 10,000.
        return math.ceil(self.ceiling / self.size - 1e-9) * self.interval
