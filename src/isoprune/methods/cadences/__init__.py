"""How much has gone after which round: `(*, rounds, ratio, **options) -> (round -> ratio)`."""

from __future__ import annotations

from collections.abc import Callable

from isoprune.methods.cadences.cumulative import (
    Cadence,
    by_cycle,
    linear,
    of_what_is_left,
    one_shot,
    polynomial,
)

CADENCES: dict[str, Callable[..., Cadence]] = {
    f.__name__: f for f in (one_shot, linear, polynomial, by_cycle)
}

__all__ = ["CADENCES", "Cadence", "of_what_is_left"]
