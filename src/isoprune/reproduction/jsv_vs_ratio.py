"""Two claims on mean JSV against ratio that are no differences of rows: a fall, and exactness."""

from __future__ import annotations

from isoprune.comparison.records.frame import numbers_of
from isoprune.comparison.statistics import summarize
from isoprune.reproduction.claims import (
    CONFIRMED,
    JSV_BEFORE,
    NOT_CONFIRMED,
    NOT_TESTABLE,
    Cells,
    Place,
    Reproduction,
    Verdict,
)

_LINEAR = "mlp_7 linear"
_FALL = 1000.0
_EXACT = 1e-4


def thousandth(_: Reproduction, cells: Cells) -> Verdict:
    """Judge by the interval of the logarithm of the fall, over seeds."""
    ends = [cells.get(Place(_LINEAR, "L1", column), {}) for column in ("0", "0.9")]
    both = sorted(ends[0].keys() & ends[1].keys())
    falls = summarize(JSV_BEFORE.compared(ends[0][s]) - JSV_BEFORE.compared(ends[1][s]) for s in both)
    if falls.n < len(both):
        return Verdict(NOT_TESTABLE, "a mean JSV is missing, or is zero: it has no ratio to another")
    if falls.n < 2:
        return Verdict(NOT_TESTABLE, "one seed has no interval: run more seeds")
    low, high = (10**end for end in falls.interval)
    told = f"{10**falls.mean:,.0f} times smaller (95 % interval {low:,.0f} to {high:,.0f}, n = {falls.n})"
    if low >= _FALL:
        return Verdict(CONFIRMED, told)
    return Verdict(NOT_CONFIRMED if high < _FALL else NOT_TESTABLE, told)


def exact(_: Reproduction, cells: Cells) -> Verdict:
    """Judge every seed by its mean and its spread: all singular values are 1 if they are 1 and 0."""
    records = [
        record
        for place, seeds in cells.items()
        if (place.panel, place.row) == (_LINEAR, "L1 + OrthP")
        for record in seeds.values()
    ]
    if not records:
        return Verdict(NOT_TESTABLE, "no finished runs to judge it by")
    means = [abs(JSV_BEFORE.of(record) - 1) for record in records]
    spreads = [numbers_of(record).get("repaired.jsv.std") or 0.0 for record in records]
    worst = max(*means, *spreads)
    told = f"largest distance of a mean from 1, and largest spread, {worst:.1e} in {len(records)} networks"
    return Verdict(CONFIRMED if worst < _EXACT else NOT_CONFIRMED, told)
