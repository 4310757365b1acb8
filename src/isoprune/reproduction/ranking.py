"""Rows of a panel ranked against a baseline: differences over all its columns, paired by seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

import altair as alt

from isoprune.comparison import text
from isoprune.comparison.statistics import p_value as p_of
from isoprune.comparison.statistics import paired_difference, summarize
from isoprune.reporting import theme
from isoprune.reporting.charts import Figure, in_colours, table
from isoprune.reproduction.claims import (
    JSV_BEFORE,
    TEST_ACCURACY,
    VALUES,
    Cells,
    Place,
    Section,
    Test,
    Value,
)
from isoprune.reproduction.judges import corrected, format_difference, format_interval, format_p
from isoprune.types.record import Record
from isoprune.types.tables import Table

BEFORE = VALUES["pruned.test_accuracy"]
JSV_PRUNED = Value("mean JSV after pruning", "pruned.jsv.mean", percent=False, log=True)
JSV_REACHED = VALUES["retrained.jsv.mean"]
SECONDS = Value("seconds of pruning", "pruned.seconds", percent=False)
MEMORY = Value("peak memory of pruning", "pruned.peak_memory", percent=False)


def ranking(
    cells: Cells, panel: str, baseline: str, *, value: Value = TEST_ACCURACY, kind: str = "criteria"
) -> Section | None:
    """Return the rows of a panel by their mean difference from the baseline; None without the baseline.

    ``value`` is what differs, an accuracy; ``kind`` what rows are.
    """
    cells = _of_all_seeds(cells, panel, baseline)
    rows = dict.fromkeys(place.row for place in cells)
    if not rows:
        return None
    tests = differences(cells, panel, baseline, [row for row in rows if row != baseline], value)
    order = sorted(tests, key=lambda t: (math.isnan(t.mean), -t.mean))
    lines = [_line(cells, t) for t in order]
    lines.insert(sum(t.mean > 0 for t in order), _own(cells, panel, baseline, value))
    head = (
        "method", value.name, f"to {baseline}, points", "95 % interval", "p (Holm)", "n",
        "as pruned, %", "JSV before", "JSV retrained", "seconds", "MB",
    )  # fmt: skip
    above, below = (sum(t.shown and s * t.mean > 0 for t in tests) for s in (1, -1))
    columns = text.listed(sorted({p.column for p in cells if p.panel == panel}, key=float))
    lead = (
        f"Of {len(tests)} {kind} these seeds show {above} above {baseline} and {below} below it, over the "
        f"ratios {columns} together (those of all seeds); the others are open. Means over ratios and seeds; "
        "differences are paired by seed over the ratios that both have, p corrected by Holm for this table; "
        f"JSV before and after retraining: geometric means of mean JSV{_dense(cells, panel)}; seconds: the "
        "median of choosing, updating and proving, by the clock (not of a repair); MB: by how much the "
        "process grew at most meanwhile, the largest of all runs."
    )
    title = f"{panel}: ranked" if value is TEST_ACCURACY else f"{panel}: ranked by {value.name}"
    return Section(title, lead, Table(head, tuple(lines)), _chart(order, baseline))


def _of_all_seeds(cells: Cells, panel: str, baseline: str) -> Cells:
    """Return the columns of a panel in which the baseline has every seed that it has anywhere in it."""
    seeds = {
        place.column: own.keys()
        for place, own in cells.items()
        if (place.panel, place.row) == (panel, baseline)
    }
    every = set().union(*seeds.values())
    return {p: own for p, own in cells.items() if p.panel == panel and seeds.get(p.column) == every}


def differences(
    cells: Cells, panel: str, baseline: str, rows: Sequence[str], value: Value = TEST_ACCURACY
) -> tuple[Test, ...]:
    """Return each row minus the baseline, the mean over the columns that both have of a seed."""
    base = _by_seed(cells, panel, baseline)
    found = []
    for row in rows:
        own = _by_seed(cells, panel, row)
        both = {seed: own[seed].keys() & base[seed].keys() for seed in own.keys() & base.keys()}
        mine, theirs = (
            {
                s: statistics.fmean(value.compared(side[s][c]) for c in columns)
                for s, columns in both.items()
                if columns
            }
            for side in (own, base)
        )
        difference = paired_difference(mine, theirs)
        low, high = difference.interval
        found.append(
            Test(
                panel=panel, first=row, second=baseline, column="", seeds=len(mine), n=difference.n,
                mean=difference.mean, low=low, high=high, p=p_of(difference), published=None,
                value=value,
            )
        )  # fmt: skip
    return corrected(found)


def _by_seed(cells: Cells, panel: str, row: str) -> dict[int, dict[str, Record]]:
    found: dict[int, dict[str, Record]] = {}
    for place, seeds in cells.items():
        if (place.panel, place.row) == (panel, row):
            for seed, record in seeds.items():
                found.setdefault(seed, {})[place.column] = record
    return found


def records_of(cells: Cells, panel: str, row: str) -> list[Record]:
    """Return the records of a row, of all columns and seeds."""
    return [
        r
        for place, seeds in cells.items()
        if (place.panel, place.row) == (panel, row)
        for r in seeds.values()
    ]


def _line(cells: Cells, test: Test) -> tuple[str, ...]:
    difference = format_difference(test).removesuffix(" points")
    numbers = (difference, format_interval(test), format_p(test.corrected), str(test.n))
    reached, *rest = _means(records_of(cells, test.panel, test.first), test.value)
    return (test.first, reached, *numbers, *rest)


def _own(cells: Cells, panel: str, baseline: str, value: Value) -> tuple[str, ...]:
    reached, *rest = _means(records_of(cells, panel, baseline), value)
    return (baseline, reached, "", "", "", str(len(_by_seed(cells, panel, baseline))), *rest)


def _means(records: Sequence[Record], value: Value) -> list[str]:
    reached, before = (f"{summarize(v.compared(r) for r in records).mean:.2f}" for v in (value, BEFORE))
    seconds = statistics.median(SECONDS.of(r) for r in records)
    start = JSV_BEFORE if all(r.network("repaired") for r in records) else JSV_PRUNED
    jsv = (geometric(v, records) for v in (start, JSV_REACHED))
    return [reached, before, *jsv, f"{seconds:.2f}", text.count(_megabytes(records))]


def _megabytes(records: Sequence[Record]) -> float:
    found = [MEMORY.of(r) for r in records]
    return max((n for n in found if not math.isnan(n)), default=math.nan) / 1e6


def geometric(value: Value, records: Iterable[Record]) -> str:
    """Return the geometric mean of numbers that are above zero."""
    mean = summarize(value.compared(r) for r in records).mean
    return text.MISSING if math.isnan(mean) else text.number(10**mean)


def _dense(cells: Cells, panel: str) -> str:
    records = [r for place, seeds in cells.items() if place.panel == panel for r in seeds.values()]
    jsv = Value("", "dense.jsv.mean", percent=False, log=True)
    accuracy = Value("", "dense.test_accuracy")
    one = {r.config["seed"]: r for r in records}.values()
    return (
        f" (dense {geometric(jsv, one)}, accuracy {summarize(accuracy.compared(r) for r in one).mean:.2f} %)"
    )


def _chart(order: Sequence[Test], baseline: str) -> Figure | None:
    drawn = [t for t in order if t.tells]
    if not drawn:
        return None
    words: Mapping[bool, str] = {True: "shown", False: "open"}
    rows = [
        {"row": t.first, "mean": t.mean, "low": t.low, "high": t.high, "verdict": words[t.shown]}
        for t in drawn
    ]
    y = alt.Y("row:N", sort=[t.first for t in drawn], title=None)
    title = f"difference to {baseline}, points"
    # Few seeds can have intervals as wide as the page: the differences themselves set the scale.
    ends = [1.2 * f(0.0, *(t.mean for t in drawn)) for f in (min, max)]
    wide = 0.1 * (ends[1] - ends[0])
    scale = alt.Scale(domain=[ends[0] - wide, ends[1] + wide])
    colours = in_colours(
        "verdict", {"shown": theme.GREEN, "open": theme.INK}, alt.Legend(title=None, orient="top")
    )
    base = table("rows")
    bar = base.mark_rule(strokeWidth=2.5, opacity=0.4, clip=True).encode(
        y=y, x=alt.X("low:Q", title=title, scale=scale), x2="high:Q", color=colours
    )
    point = base.mark_point(size=70, filled=True, opacity=1).encode(
        y=y, x=alt.X("mean:Q", title=title, scale=scale), color=colours
    )
    layers = alt.LayerChart(layer=[bar, point]).properties(height=22 * len(rows) + 20)
    return Figure(layers, {"rows": rows})


def place_of(cells: Cells, panel: str, row: str, column: str) -> Mapping[int, Record]:
    """Return the records of a cell by seed; empty where there is none."""
    return cells.get(Place(panel, row, column), {})
