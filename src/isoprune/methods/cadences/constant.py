"""The same ratio in every round."""

from __future__ import annotations

from collections.abc import Callable

from isoprune.types.errors import IsopruneError
from isoprune.types.method import method


@method("cadence", source="Han, Pool, Tran & Dally, NeurIPS 2015")
def constant(*, rounds: int, ratio: float) -> Callable[[int], float]:  # noqa: ARG001  the signature of all
    """Return the cadence by which each round removes ``ratio`` of what is still there.

    Args:
        rounds: How many there are.
        ratio: In [0, 1).

    Raises:
        IsopruneError: If the ratio is out of range.
    """
    if not 0 <= ratio < 1:
        raise IsopruneError(f"ratio is {ratio:g}, outside [0, 1). It is the fraction that is removed.")
    return lambda _round: ratio
