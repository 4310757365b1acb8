"""Paths between networks -> a chart of the error on the line, and of its barrier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt

from isoprune.reporting import theme
from isoprune.reporting.charts import Figure, in_colours, table

_COLOURS = (theme.INK, theme.GREEN, theme.RED)


def error_paths(paths: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Return the error against the place on the line, one curve a path, named with its barrier.

    Args:
        paths: Name -> what `LinearPath.as_dict` gives.
    """
    loss = any(path["loss"] for path in paths.values())
    scale, unit, digits = (1, "", ".3g") if loss else (100, " points", ".1f")
    names = {
        name: f"{name}: barrier {scale * path['barrier']:{digits}}{unit}" for name, path in paths.items()
    }
    rows = [
        {"place": row["place"], "error": scale * row["error"], "path": names[name]}
        for name, path in paths.items()
        for row in path["rows"]
    ]
    metric = next(iter(paths.values()))["metric"]
    title = metric if loss else f"error (1 − {metric}), %"
    colours = {label: _COLOURS[i % len(_COLOURS)] for i, label in enumerate(names.values())}
    x = alt.X("place:Q", title="place between two copies", axis=alt.Axis(tickCount=5))
    y = alt.Y("error:Q", title=title, scale=alt.Scale(zero=False))
    colour = in_colours(
        "path", colours, alt.Legend(title=None, orient="top", labelLimit=400, columns=1, offset=36)
    )
    base = table("rows").encode(x=x, y=y, color=colour)
    marks: list[Any] = [base.mark_line(strokeWidth=2), base.mark_point(filled=True, size=40, opacity=1)]
    return Figure(alt.LayerChart(layer=marks).properties(height=260), {"rows": rows})
