"""How much has gone after which round, one a file: `(*, rounds, ratio, **options) -> (round -> ratio)`."""

from __future__ import annotations

from collections.abc import Callable

from isoprune.methods.cadences.by_cycle import by_cycle
from isoprune.methods.cadences.cumulative import Cadence, of_what_is_left
from isoprune.methods.cadences.linear import linear
from isoprune.methods.cadences.one_shot import one_shot
from isoprune.methods.cadences.polynomial import polynomial

CADENCES: dict[str, Callable[..., Cadence]] = {
    f.__name__: f for f in (one_shot, linear, polynomial, by_cycle)
}

__all__ = ["CADENCES", "Cadence", "of_what_is_left"]
