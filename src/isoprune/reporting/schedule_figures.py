"""Learning-rate schedules as charts, as one page or picture, and the rates that the runs of a study used."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt

from isoprune.comparison import text
from isoprune.reporting import html, series, theme
from isoprune.reporting.charts import Figure, in_colours, powers, specification, table
from isoprune.reporting.export import WRITERS, write_picture
from isoprune.reporting.series import Series
from isoprune.reporting.study import Cell, split_by_budget
from isoprune.types import IsopruneError
from isoprune.types.files import write_output

LOW = 4  # decades below the peak that have a line
_FLOOR = 10.0 ** -(LOW + 0.4)  # what is lower is drawn here: zero has no logarithm
MOST = 12  # lines of a chart
_HEIGHT = 150
Rates = tuple[tuple[int, float], ...]  # (epoch, its last learning rate), in order


@dataclass(frozen=True)
class Curve:
    """One schedule: its name, its options in words, and (epoch, factor) points in order."""

    name: str
    options: str
    points: Sequence[tuple[float, float]]


def panel(curve: Curve) -> Figure:
    """Return a schedule's factor (log) over the epochs."""
    end = curve.points[-1][0]
    x = alt.X("x:Q", title="epoch", scale=alt.Scale(domain=[0, end], nice=False))
    x = x.axis(format="~f", tickCount=6)
    scale = alt.Scale(type="log", domain=[_FLOOR, 1.6], nice=False, clamp=True)
    y = alt.Y("factor:Q", title=None, scale=scale, axis=powers(-LOW, 0))
    base = table("rows")
    area = base.mark_area(opacity=0.14, color=theme.BLUE, clip=True)
    line = base.mark_line(strokeWidth=2.5, color=theme.BLUE, clip=True)
    tips = [alt.Tooltip("x:Q", title="epoch", format=".1f"), alt.Tooltip("text:N", title="factor")]
    near = base.mark_rule(opacity=0, strokeWidth=4).encode(x=x, tooltip=tips)
    floor = alt.Y2Datum(_FLOOR)
    layers = [area.encode(x=x, y=y, y2=floor), line.encode(x=x, y=y), near]
    chart = alt.LayerChart(layer=layers).properties(height=_HEIGHT)
    return Figure(chart, {"rows": _rows(curve)})


def sheet(curves: Sequence[Curve]) -> dict[str, Any]:
    """Return all panels as one Vega-Lite specification without a config."""
    panels = []
    for curve in curves:
        one = specification(panel(curve), width=250)
        del one["autosize"]
        rows = one.pop("datasets")["rows"]
        # Within a level stretch no point is needed: a picture of steps is ten times smaller.
        last = len(rows) - 1
        bends = [
            row for i, row in enumerate(rows)
            if i in (0, last) or not rows[i - 1]["factor"] == row["factor"] == rows[i + 1]["factor"]
        ]  # fmt: skip
        data = {"values": [{key: row[key] for key in ("x", "factor")} for row in bends]}
        # Without the tooltips' layer: a picture has none, and it would be a mark for every point.
        drawn = one["layer"][:-1]
        layers = [{key: part for key, part in layer.items() if key != "data"} for layer in drawn]
        title = {"text": curve.name, "subtitle": curve.options or " ", "fontSize": 13, "offset": 10}
        panels.append({**one, "data": data, "layer": layers, "title": title})
    title = {"text": "Factor on the learning rate over the epochs of retraining, logarithmic"}
    return {"concat": panels, "columns": 3, "spacing": 24, "title": title}


def _rows(curve: Curve) -> list[dict[str, Any]]:
    return [
        {"x": float(f"{x:.5g}"), "factor": max(float(f"{y:.4g}"), _FLOOR), "text": text.number(y)}
        for x, y in curve.points
    ]


def used_series(cells: Sequence[Cell]) -> dict[Series, Rates]:
    """Return the legend of `used`: the learning rates that the runs' retraining went by, each once.

    Empty if there are more than can be told apart. Runs with a budget of steps are left out: each budget
    would be one more.
    """
    found: dict[Rates, str] = {}
    for cell in split_by_budget(cells)[0]:
        for record in cell.records:
            rates = tuple((r["epoch"], r["lr"]) for r in series.history(record) if r.get("lr") and r["epoch"])
            if rates and rates not in found:
                found[rates] = _label(cell, rates, found)
    if len(found) > MOST:
        return {}
    colours, dashes = theme.PALETTE[1:], theme.DASHES
    looks = [(colours[i % len(colours)], dashes[i % len(dashes)]) for i in range(len(found))]
    return {
        Series(label, colour, dash, theme.SHAPES[0]): rates
        for (rates, label), (colour, dash) in zip(found.items(), looks, strict=True)
    }


def _label(cell: Cell, rates: Rates, labels: Mapping[Rates, str]) -> str:
    name = cell.value("retrain.schedule.name") or "schedule"
    label = f"LR {text.learning_rate(cell.lr or rates[0][1])}, {name}"
    label += f", {rates[-1][0]} epochs" if any(other[-1][0] != rates[-1][0] for other in labels) else ""
    same = [known for known in labels.values() if known == label or known.startswith(f"{label} (")]
    return f"{label} ({len(same) + 1})" if same else label


def used(cells: Sequence[Cell]) -> Figure | None:
    """Return the learning rates (log) of the runs' retraining over its epochs; None if none are known.

    A record knows the last rate of every epoch: the line is a staircase, and what a schedule does within an
    epoch does not show.
    """
    entries = used_series(cells)
    if not entries:
        return None
    high = max(lr for rates in entries.values() for _, lr in rates)
    low = max(min(lr for rates in entries.values() for _, lr in rates), high * 10.0**-LOW)
    rows, tips = [], []
    for entry, rates in entries.items():
        for epoch, lr in rates:
            words = text.learning_rate(float(f"{lr:.3g}"))
            row = {"series": entry.label, "lr": max(lr, low)}
            # The rate of epoch 1 is that from 0 to 1.
            rows += [{**row, "x": epoch - 1}, {**row, "x": epoch}]
            tips.append({"series": entry.label, "x": epoch - 1, "place": epoch, "text": words})
    wide, fields = series.hover_rows(tips)
    wide = [{**row, "from": row["x"], "to": row["x"] + 1} for row in wide]
    return Figure(_staircase(list(entries), fields, low, high), {"rows": rows, "hover": wide})


def _staircase(entries: list[Series], fields: dict[str, str], low: float, high: float) -> alt.LayerChart:
    names = [entry.label for entry in entries]
    scale = alt.Scale(type="log", domain=[low / 1.6, high * 1.6], nice=False)
    y = alt.Y("lr:Q", title="learning rate", scale=scale)
    y = y.axis(powers(math.floor(math.log10(low)), math.ceil(math.log10(high))))
    x = alt.X("x:Q", title="epoch of retraining", scale=alt.Scale(nice=False))
    x = x.axis(format="d", tickMinStep=1, tickCount=10)
    tint = in_colours("series", {e.label: e.colour for e in entries})
    dashes = alt.Scale(domain=names, range=[list(e.dash) for e in entries])
    line = table("rows").transform_filter("indexof(hidden, datum.series) < 0").mark_line(strokeWidth=2.5)
    line = line.encode(x=x, y=y, color=tint, strokeDash=alt.StrokeDash("series:N", scale=dashes, legend=None))
    tips = [alt.Tooltip("place:Q", title="epoch")]
    tips += [alt.Tooltip(f"{field}:N", title=label) for field, label in fields.items()]
    reach = table("hover").mark_rect(opacity=0).encode(x=alt.X("from:Q"), x2="to:Q", tooltip=tips)
    chart = alt.LayerChart(layer=[line, reach]).add_params(alt.param(name="hidden", value=[]))
    return chart.properties(height=220)


FORMATS = (".html", *(f".{name}" for name in WRITERS))


def draw_schedules(curves: Sequence[Curve], out: Path, *, dark: bool = False) -> Path:
    """Write a page (``.html``), or a picture (``.svg``, ``.png``, ``.pdf``), and return its path.

    Args:
        dark: The picture's colours; the page follows its reader's.

    Raises:
        IsopruneError: If the ending is none of these, or the file cannot be written.
    """
    if out.suffix not in FORMATS:
        raise IsopruneError(f"{out} has no ending that can be drawn. Known: {', '.join(FORMATS)}.")
    if out.suffix == ".html":
        return write_output(_page(curves), out, what="page")
    spec = sheet(curves)
    config = theme.config(dark=dark)
    config["title"]["subtitleColor"] = config["axis"]["labelColor"]
    spec["config"] = {**config, "background": "#17181b" if dark else "white", "padding": 16}
    return write_picture(spec, out)


def _page(curves: Sequence[Curve]) -> str:
    charts = html.charts(*((f"schedule-{c.name}", panel(c), c.name, c.options) for c in curves))
    epochs = f"{curves[0].points[-1][0]:g}"
    return html.render("schedules.html.j2", title="Learning-rate schedules", charts=charts, epochs=epochs)
