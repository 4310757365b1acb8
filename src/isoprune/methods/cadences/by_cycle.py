"""The ratio of each round that makes a given ratio in all."""

from __future__ import annotations

from collections.abc import Callable

from isoprune.types.errors import IsopruneError
from isoprune.types.method import method


@method("cadence", source="Frankle & Carbin, The lottery ticket hypothesis, ICLR 2019")
def by_cycle(*, rounds: int, ratio: float) -> Callable[[int], float]:
    r"""Return the cadence of ``ratio`` in all: :math:`1 - (1 - r)^{1/n}` of what is left, each round.

    Args:
        rounds: How many there are, n.
        ratio: Of all rounds together, in [0, 1).

    Raises:
        IsopruneError: If the ratio is out of range.
    """
    if not 0 <= ratio < 1:
        raise IsopruneError(f"ratio is {ratio:g}, outside [0, 1). It is the fraction that is removed.")
    each = 1 - (1 - ratio) ** (1 / rounds)
    return lambda _round: each
