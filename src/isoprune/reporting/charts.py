"""Parts of charts: tables by name, colours, axes; and the Vega-Lite specification made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import altair as alt

from isoprune.reporting.series import Row

VEGA_LITE = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])  # what vl_convert calls its version
_POWERS = {str(power): f"{10.0**power:g}" if -4 < power < 4 else f"1e{power}" for power in range(-30, 31)}
_POWER_LABEL = f"({_POWERS})[round(log(datum.value) / LN10)]"


@dataclass(frozen=True)
class Figure:
    """A chart whose layers name their tables, and the tables: Altair would copy and check every row.

    ``keyed``: the page has a legend of its own for it, by which series are hidden and shown.
    """

    chart: alt.LayerChart
    tables: dict[str, list[Row]]
    keyed: bool = False


def specification(
    figure: Figure, *, width: int | str = "container", title: str | None = None
) -> dict[str, Any]:
    """Return a figure as a Vega-Lite specification without a config, sized for its place."""
    made = figure.chart.to_dict()
    # An address of the schema would be the one link of the page that leads out of it.
    made = {key: part for key, part in made.items() if key not in ("config", "$schema")}
    made |= {"datasets": figure.tables, "width": width}
    made["autosize"] = {"type": "fit-x", "contains": "padding"}
    if figure.keyed and width == "container":
        drawn = [layer["encoding"] for layer in made["layer"]]
        for scaled in (e[channel] for e in drawn for channel in ("color", "strokeDash") if channel in e):
            scaled["legend"] = None
    return made | ({"title": title} if title else {})


def in_colours(field: str, colours: Mapping[str, str], legend: alt.Legend | None = None) -> alt.Color:
    """Return the colours that the values of a field are drawn in."""
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    return alt.Color(f"{field}:N", legend=legend, scale=scale)


def table(name: str) -> alt.Chart:
    """Return a chart on one of a figure's tables, to be given its marks."""
    return alt.Chart(alt.NamedData(name=name))


def powers(low: int, high: int, step: int | None = None) -> alt.Axis:
    """Return the axis of a logarithmic quantity: a line at every power of ten, or every second of many."""
    step = step or (1 if high - low < 8 else 2)
    values = [10.0**power for power in range(low, high + 1, step)]
    return alt.Axis(labelExpr=_POWER_LABEL, values=values, labelOverlap="greedy")
