"""Claims judged by paired differences over seeds, corrected for the number of differences of the claim."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from isoprune.comparison import setup_of, text
from isoprune.comparison.statistics import holm, p_value, paired_difference, summarize
from isoprune.reproduction.claims import (
    CONFIRMED,
    JSV_BEFORE,
    NOT_CONFIRMED,
    NOT_TESTABLE,
    Cells,
    Place,
    Reproduction,
    Test,
    Value,
    Verdict,
)

Judge = Callable[[Reproduction, Cells], Verdict]
Side = str | tuple[str, str]  # a row, or a row and its column
_NAMED = 3  # settings that a sentence names


def above(*pairs: tuple[Side, Side], **where: Any) -> Judge:
    """Return the judge of "the first is above the second": in every setting, p < 0.05 after Holm's method.

    What is shown the other way round anywhere is not confirmed. Where some settings are open, the claim is
    not testable if the published difference is not above their intervals (or none was published): these seeds
    do not tell it from zero. It is not confirmed if an interval ends below the published difference.
    """

    return _judge(pairs, where, decide_above)


def decide_above(tests: tuple[Test, ...], *, of: str = "seeds") -> Verdict:
    """Return the verdict that all those differences are above zero: see `above`; ``of`` what each is over."""
    right = [t for t in tests if t.shown and t.mean > 0]
    wrong = [t for t in tests if t.shown and t.mean < 0]
    unsure = [t for t in tests if not t.shown]
    counted = f"shown in {len(right)} of {len(tests)} settings" + _range(tests)
    if len(right) == len(tests):
        return Verdict(CONFIRMED, counted, tests)
    if wrong:
        return Verdict(NOT_CONFIRMED, f"{counted}; the other way round: {_where(wrong, tests)}", tests)
    short = [t for t in unsure if t.published is not None and t.published > t.high]
    if short:
        because = f"{counted}; our interval ends below the published difference: {_where(short, tests)}"
        return Verdict(NOT_CONFIRMED, because, tests)
    return Verdict(NOT_TESTABLE, f"{counted}; too few {of} to tell: {_where(unsure, tests)}", tests)


def within(
    *pairs: tuple[Side, Side],
    margin: float,
    below_only: bool = False,
    **where: Any,
) -> Judge:
    """Return the judge of "the first is level with the second": every 95 % interval within ``margin``.

    ``below_only``: it may be above, only not further below. Not confirmed if an interval lies beyond the
    margin; otherwise these seeds do not tell.
    """

    def decide(tests: tuple[Test, ...]) -> Verdict:
        beyond = [t for t in tests if t.high < -margin or (t.low > margin and not below_only)]
        inside = [t for t in tests if t.low >= -margin and (below_only or t.high <= margin)]
        what = f"not more than {margin:g} below" if below_only else f"within ±{margin:g}"
        counted = f"{what} in {len(inside)} of {len(tests)} settings" + _range(tests)
        if len(inside) == len(tests):
            return Verdict(CONFIRMED, counted, tests)
        if beyond:
            return Verdict(NOT_CONFIRMED, f"{counted}; beyond: {_where(beyond, tests)}", tests)
        open_ = [t for t in tests if t not in inside]
        return Verdict(NOT_TESTABLE, f"{counted}; too few seeds to tell: {_where(open_, tests)}", tests)

    return _judge(pairs, where, decide)


def _judge(
    pairs: Sequence[tuple[Side, Side]],
    where: Mapping[str, Any],
    decide: Callable[[tuple[Test, ...]], Verdict],
) -> Judge:
    """Return the judge that decides by the differences of ``pairs``, where `paired` finds them."""

    def judge(reproduction: Reproduction, cells: Cells) -> Verdict:
        tests = paired(reproduction, cells, pairs, **where)
        return undecided(tests) or decide(tests)

    return judge


def paired(
    reproduction: Reproduction,
    cells: Cells,
    pairs: Sequence[tuple[Side, Side]],
    *,
    columns: Sequence[str] | None = None,
    panels: Sequence[str] | None = None,
    value: Value | None = None,
) -> tuple[Test, ...]:
    """Return first minus second, paired by seed, wherever both were run, corrected for their number."""
    value = value or reproduction.value
    found: list[Test] = []
    for panel in dict.fromkeys(place.panel for place in cells):
        if panels is not None and panel not in panels:
            continue
        known = dict.fromkeys(place.column for place in cells if place.panel == panel)
        for first, second in pairs:
            both = isinstance(first, tuple) and isinstance(second, tuple)
            for column in [""] if both else [c for c in columns or known if c in known]:
                places = [_place(panel, side, column) for side in (first, second)]
                if all(place in cells for place in places):
                    found.append(_test(reproduction, cells, places[0], places[1], value))
    return corrected(found)


def corrected(tests: Sequence[Test]) -> tuple[Test, ...]:
    """Return differences with their p corrected for their number."""
    found = holm([t.p for t in tests])
    return tuple(dataclasses.replace(t, corrected=c) for t, c in zip(tests, found, strict=True))


def _place(panel: str, side: Side, column: str) -> Place:
    return Place(panel, *side) if isinstance(side, tuple) else Place(panel, side, column)


def _test(reproduction: Reproduction, cells: Cells, a: Place, b: Place, value: Value) -> Test:
    values = [{seed: value.compared(r) for seed, r in cells[place].items()} for place in (a, b)]
    difference = paired_difference(*values)
    low, high = difference.interval
    seeds = sorted(values[0].keys() & values[1].keys())
    shared = [setup_of(cells[a][seed], cells[b][seed]).setup for seed in seeds]
    lowest = min((s for s in shared if s is not None), default=None) if None not in shared else None
    same = a.column == b.column
    return Test(
        panel=a.panel,
        first=a.row if same else f"{a.row}, {a.column}",
        second=b.row if same else f"{b.row}, {b.column}",
        column=a.column if same else "",
        seeds=len(seeds),
        n=difference.n,
        mean=difference.mean,
        low=low,
        high=high,
        p=p_value(difference),
        published=_published(reproduction, a, b, value),
        value=value,
        setup="none" if lowest is None else str(lowest),
    )


def _published(reproduction: Reproduction, a: Place, b: Place, value: Value) -> float | None:
    table = reproduction.published.get(a.panel)
    if table is None or not table.comparable or value != reproduction.value:
        return None
    ends = [table.mean(place.row, place.column) for place in (a, b)]
    if ends[0] is None or ends[1] is None:
        return None
    return value.published(ends[0]) - value.published(ends[1])


def undecided(tests: Sequence[Test]) -> Verdict | None:
    """Return the verdict where differences are missing, or have no interval; None where all are there."""
    if not tests:
        return Verdict(NOT_TESTABLE, "no finished runs to judge it by")
    if left := [t for t in tests if t.n < t.seeds]:
        why = "a value is missing, or is zero where values are compared by ratios"
        return Verdict(NOT_TESTABLE, f"{why}: {_where(left, tests)}", tuple(tests))
    if all(t.n < 2 for t in tests):
        return Verdict(NOT_TESTABLE, "one seed has no interval: run more seeds", tuple(tests))
    return None


def _range(tests: Sequence[Test]) -> str:
    low, high = min(tests, key=lambda t: t.mean), max(tests, key=lambda t: t.mean)
    if len(tests) == 1:
        return f" ({format_difference(low)}, 95 % interval {format_interval(low)}, n = {low.n})"
    return f" (mean differences from {format_difference(low)} to {format_difference(high)})"


def _where(those: Sequence[Test], tests: Sequence[Test]) -> str:
    """Return those settings in words; what is the same in all of the tests is not said."""
    settings = [(t.panel, f"{t.first} against {t.second}", t.column) for t in tests]
    kinds = [len(set(kind)) > 1 for kind in zip(*settings, strict=True)]
    if not any(kinds):
        return those[0].panel
    words = [settings[tests.index(t)] for t in those[:_NAMED]]
    said = "; ".join(
        ", ".join(w for w, tell in zip(word, kinds, strict=True) if tell and w) for word in words
    )
    return f"{said}; and {len(those) - _NAMED} more" if len(those) > _NAMED else said


def format_difference(test: Test) -> str:
    """Return a difference with its sign and unit; of a value that is compared by ratios, the factor."""
    return _format(test.mean, test.value) + _unit(test.value)


def format_p(p: float) -> str:
    """Return a p in words, three digits."""
    return text.MISSING if p != p else "< 0.001" if p < 0.001 else f"{p:.3f}"


def format_interval(test: Test) -> str:
    return f"{_format(test.low, test.value)} to {_format(test.high, test.value)}" if test.tells else "–"


def format_published(test: Test) -> str:
    return "–" if test.published is None else _format(test.published, test.value)


def _format(number: float, value: Value) -> str:
    if not math.isfinite(number):
        return "–"
    if value.log:
        return f"× {10**number:.3g}"
    return f"{number:+.2f}".replace("-", "−")


def _unit(value: Value) -> str:
    return " points" if value.percent and not value.log else ""


_LINEAR = "mlp_7 linear"
_FALL = 1000.0
_EXACT = 1e-4
_SPREAD = Value("spread of the singular values", "repaired.jsv.std", percent=False)


def thousandth(_: Reproduction, cells: Cells) -> Verdict:
    """Judge by the interval of the logarithm of the fall, over seeds."""
    ends = [cells.get(Place(_LINEAR, "L1", column), {}) for column in ("0", "0.9")]
    both = sorted(ends[0].keys() & ends[1].keys())
    falls = summarize(JSV_BEFORE.compared(ends[0][s]) - JSV_BEFORE.compared(ends[1][s]) for s in both)
    if falls.n < len(both):
        return Verdict(NOT_TESTABLE, "a mean JSV is missing, or is zero: it has no ratio to another")
    if math.isnan(falls.half):
        return Verdict(NOT_TESTABLE, "one seed, or equal ones, have no interval: run more seeds")
    low, high = (10**end for end in falls.interval)
    because = f"{10**falls.mean:,.0f} times smaller (95 % interval {low:,.0f} to {high:,.0f}, n = {falls.n})"
    if low >= _FALL:
        return Verdict(CONFIRMED, because)
    return Verdict(NOT_CONFIRMED if high < _FALL else NOT_TESTABLE, because)


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
    spreads = [_SPREAD.of(record) for record in records]
    if any(math.isnan(number) for number in (*means, *spreads)):
        return Verdict(NOT_TESTABLE, "a mean JSV, or its spread, is missing")
    worst = max(*means, *spreads)
    because = f"largest distance of a mean from 1, and largest spread, {worst:.1e} in {len(records)} networks"
    return Verdict(CONFIRMED if worst < _EXACT else NOT_CONFIRMED, because)
