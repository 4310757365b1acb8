"""How much goes in which round, one a file: `(*, rounds, **options) -> (round -> ratio)`, rounds from 1.

The ratio is of what is still there when the round begins.
"""

from __future__ import annotations

from collections.abc import Callable

from isoprune.methods.cadences.by_cycle import by_cycle
from isoprune.methods.cadences.constant import constant

Cadence = Callable[[int], float]

CADENCES: dict[str, Callable[..., Cadence]] = {f.__name__: f for f in (constant, by_cycle)}

__all__ = ["CADENCES", "Cadence", "by_cycle", "constant"]
