"""A panel's published numbers and ours as two charts of one kind, their rows in the same colours."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from isoprune.comparison.statistics import summarize
from isoprune.reporting import theme
from isoprune.reporting.charts import Figure, in_colours, powers, table
from isoprune.reproduction.claims import Cells, Reproduction, Value
from isoprune.types.record import Record

Row = dict[str, Any]


def published(reproduction: Reproduction, panel: str, names: Sequence[str]) -> Figure | None:
    """Return the chart of a panel's printed means, with their standard deviations; None without a table."""
    printed = reproduction.published.get(panel)
    if printed is None:
        return None
    rows = []
    for row in printed.rows:
        for column in printed.columns:
            mean, std = printed.mean(row, column), printed.std(row, column) or 0.0
            if mean is not None:
                rows.append(_row(row, column, mean, mean - std, mean + std))
    return _chart(reproduction, rows, names)


def ours(reproduction: Reproduction, cells: Cells, panel: str, names: Sequence[str]) -> Figure | None:
    """Return the chart of a panel's means over seeds, with 95 % intervals; None without runs."""
    value, rows = reproduction.value, []
    for place, seeds in cells.items():
        if place.panel != panel:
            continue
        shown = [_shown(value, record) for record in seeds.values()]
        found = summarize(shown)
        if not found.n or (value.log and found.mean <= 0):
            continue
        half = 0.0 if math.isnan(found.half) else found.half
        low, high = found.mean - half, found.mean + half
        if value.log:
            # The interval of the logarithms stays above zero; a seed at zero has none, so nor has the mean.
            logs = summarize(math.log10(number) if number > 0 else math.nan for number in shown)
            whole = logs.n == found.n and math.isfinite(logs.half)
            low, high = (10**end for end in logs.interval) if whole else (found.mean, found.mean)
        rows.append(_row(place.row, place.column, found.mean, low, high))
    return _chart(reproduction, rows, names)


def _shown(value: Value, record: Record) -> float:
    return value.of(record) * (100 if value.percent else 1)


def _row(row: str, column: str, mean: float, low: float, high: float) -> Row:
    return {"row": row, "column": column, "at": _at(column), "mean": mean, "low": low, "high": high}


def _at(column: str) -> float:
    try:
        return float(column.split(" ")[0].removesuffix("x"))
    except ValueError:
        return 0.0


def _chart(reproduction: Reproduction, rows: list[Row], names: Sequence[str]) -> Figure | None:
    if not rows:
        return None
    # Every name has its colour and dash in both charts, whichever of them has it.
    colours = dict(zip(names, itertools.cycle(theme.PALETTE)))
    shapes = [theme.SHAPES[i % len(theme.SHAPES)] for i in range(len(names))]
    legend = alt.Legend(title=None, orient="bottom", columns=2)
    tint = in_colours("row", colours, legend)
    form = alt.Shape("row:N", legend=legend, scale=alt.Scale(domain=list(names), range=shapes))
    order = [row["column"] for row in sorted(rows, key=lambda row: row["at"])]
    x = alt.X(
        "column:O", sort=list(dict.fromkeys(order)), title=reproduction.columns, axis=alt.Axis(labelAngle=0)
    )
    if reproduction.value.log:
        low, high = (f(row["mean"] for row in rows) for f in (min, max))
        axis = powers(math.floor(math.log10(low)), math.ceil(math.log10(high)))
        scale = alt.Scale(type="log", nice=False, padding=16)
    else:
        axis, scale = alt.Axis(tickCount=6), alt.Scale(zero=False, padding=12)
    title = reproduction.value.name
    y = alt.Y("mean:Q", title=title, axis=axis, scale=scale)
    base = table("rows")
    tips = [alt.Tooltip("row:N", title="method"), alt.Tooltip("mean:Q", format=".4~g")]
    bar = base.mark_rule(strokeWidth=2.5, opacity=0.4).encode(
        x=x, y=alt.Y("low:Q", title=title), y2="high:Q", color=tint
    )
    line = base.mark_line(strokeWidth=2).encode(x=x, y=y, color=tint)
    point = base.mark_point(size=90, filled=True, opacity=1).encode(
        x=x, y=y, color=tint, shape=form, tooltip=tips
    )
    return Figure(alt.LayerChart(layer=[bar, line, point]).properties(height=320), {"rows": rows})
