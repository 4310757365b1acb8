"""Many units at first, few in the end."""

from __future__ import annotations

from dataclasses import dataclass

from isoprune.methods.cadences.cumulative import Cadence
from isoprune.types.errors import IsopruneError
from isoprune.types.method import method


@dataclass(frozen=True)
class Polynomial:
    """Part of the rounds, ratio in the end -> ratio by then."""

    power: float

    def __call__(self, part: float, ratio: float) -> float:
        return ratio * (1 - (1 - part) ** self.power)


@method("cadence", source="Zhu & Gupta, 2017, arXiv 1710.01878")
def polynomial(*, rounds: int, ratio: float, power: float = 3.0) -> Cadence:
    r"""Have removed :math:`r (1 - (1 - t/n)^p)` after t of n rounds.

    Raises:
        IsopruneError: If ``power`` is below 1, where less goes at first.
    """
    if not power >= 1:
        raise IsopruneError(f"power is {power:g}. Give 1 (linear) or more: 3 is the published one.")
    return Cadence(ratio, rounds, Polynomial(power))
