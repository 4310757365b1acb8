"""Equally many units, every round."""

from __future__ import annotations

from isoprune.methods.cadences.cumulative import Cadence
from isoprune.types.method import method


def _linear(part: float, ratio: float) -> float:
    return ratio * part


@method("cadence")
def linear(*, rounds: int, ratio: float) -> Cadence:
    """Remove :math:`r / n` of all units in each of n rounds."""
    return Cadence(ratio, rounds, _linear)
