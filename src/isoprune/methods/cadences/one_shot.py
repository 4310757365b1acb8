"""Everything in the first round."""

from __future__ import annotations

from isoprune.methods.cadences.cumulative import Cadence
from isoprune.types.method import method


def _at_once(_: float, ratio: float) -> float:
    return ratio


@method("cadence", label="one shot")
def one_shot(*, rounds: int, ratio: float) -> Cadence:
    """Remove all that goes in the first round; the rounds after it only train."""
    return Cadence(ratio, rounds, _at_once)
