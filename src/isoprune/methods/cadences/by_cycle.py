"""The same ratio of what is left, every round."""

from __future__ import annotations

from isoprune.methods.cadences.cumulative import Cadence
from isoprune.types.method import method


def _by_cycle(part: float, ratio: float) -> float:
    return 1 - (1 - ratio) ** part


@method("cadence", source="Frankle & Carbin, ICLR 2019, arXiv 1803.03635")
def by_cycle(*, rounds: int, ratio: float) -> Cadence:
    """Remove :math:`1 - (1 - r)^{1/n}` of what is left in each of n rounds, r in all."""
    return Cadence(ratio, rounds, _by_cycle)
