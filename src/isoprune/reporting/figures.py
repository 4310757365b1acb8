"""Cells -> charts. Pure: one specification serves the page (interactive) and the static files."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import altair as alt

from isoprune.reporting import frontier
from isoprune.reporting import series as data
from isoprune.reporting.charts import Figure, in_colours, powers, table
from isoprune.reporting.series import Row, Series
from isoprune.reporting.study import Cell, over_seeds, split_by_budget, unique

# Ctrl or Cmd with the wheel (a pinch on a trackpad), and no touch: the page must scroll past a chart.
_WHEEL = "wheel![event.ctrlKey || event.metaKey]"
_DRAG = "[pointerdown[event.pointerType !== 'touch'], window:pointerup] > window:pointermove!"
_SHOWN = "indexof(hidden, datum.series) < 0"
_TEST = {"title": "test accuracy, %", "scale": alt.Scale(zero=False), "axis": alt.Axis(tickCount=6)}


def jsv_against_ratio(cells: Sequence[Cell]) -> Figure | None:
    """Return mean JSV (log) against ratio, a line per network and repair; None for fewer than two ratios."""
    rows = data.jsv_rows(cells)
    if len({row["x"] for row in rows if row["x"] > 0}) < 2:
        return None
    y = {"title": "mean JSV", **_log(rows)}
    axis, scale = alt.Axis(format="~g", tickCount=8), alt.Scale(nice=False, padding=8)
    x = {"title": "ratio of filters removed", "axis": axis, "scale": scale}
    isometry = [{"y": 1.0, "label": "isometry"}]
    entries = list(data.ratio_series(cells))
    return _lines(rows, entries, x, y, levels=isometry, overview=True)


def accuracy_per_epoch(cells: Sequence[Cell]) -> Figure | None:
    """Return one network's validation accuracy per epoch of retraining; None without histories."""
    dense = over_seeds(cells, "dense.validation_accuracy")
    levels = [{"y": 100 * dense.mean, "label": "dense"}] if dense.n else []
    rows = data.epoch_rows(cells, "validation_accuracy", percent=True)
    y = {"title": "validation accuracy, %", "scale": alt.Scale(zero=False), "axis": alt.Axis(tickCount=6)}
    return _per_epoch(cells, rows, y, levels)


def jsv_per_epoch(cells: Sequence[Cell]) -> Figure | None:
    """Return one network's mean JSV (log) per epoch of retraining; None without histories."""
    dense = over_seeds(cells, "dense.jsv.mean")
    levels = [{"y": dense.mean, "label": "dense"}] if dense.n and dense.mean > 0 else []
    rows = data.epoch_rows(cells, "jsv_mean")
    if not rows:
        return None
    for row in rows:
        row |= {key: max(row[key], data.FLOOR) for key in ("mean", "low", "high")}
    y = {"title": "mean JSV", **_log(rows)}
    return _per_epoch(cells, rows, y, levels)


def accuracy_against_size(cells: Sequence[Cell]) -> Figure | None:
    """Return one network's test accuracy against what is left of it; None for fewer than two sizes."""
    rows, what = data.size_rows(cells)
    if len({row["x"] for row in rows}) < 2:
        return None
    x = {"title": f"{what} left, %", "scale": alt.Scale(nice=False, padding=8), "axis": alt.Axis(tickCount=6)}
    return _lines(rows, [*data.retrained_series(cells)], x, _TEST, levels=_dense(cells), overview=True)


def accuracy_against_budget(cells: Sequence[Cell]) -> Figure | None:
    """Return one network's test accuracy against steps of retraining (log); None without budgets."""
    rows, entries = frontier.rows(split_by_budget(cells)[1])
    if not rows:
        return None
    places = {row["x"]: row["place"] for row in rows}
    labels = f"({ {f'{x:g}': str(place) for x, place in places.items()} })[datum.value]"
    axis = alt.Axis(values=sorted(places), labelExpr=labels, labelOverlap="greedy")
    x = {"title": "steps of retraining", "axis": axis, "scale": alt.Scale(type="log", nice=False)}
    return _lines(rows, entries, x, _TEST, levels=_dense(cells), middle=lambda a, b: math.sqrt(a * b))


def _dense(cells: Sequence[Cell]) -> list[Row]:
    dense = over_seeds(cells, "dense.test_accuracy")
    return [{"y": 100 * dense.mean, "label": "dense"}] if dense.n else []


def singular_values(cells: Sequence[Cell]) -> Figure | None:
    """Return the distributions of one network's sigma, a row per stage, each as high as its fullest bin."""
    rows = data.spectrum_rows(cells)
    return ridges(rows, {stage.label: stage.colour for stage in data.stages(cells)}) if rows else None


def ridges(rows: list[Row], colour: dict[str, str]) -> Figure:
    """Return the histograms of `series.histogram_rows`, one above the other, in the colours of the stages."""
    stages = unique(row["stage"] for row in rows)
    bars, labels = [], []
    for row in rows:
        base = len(stages) - 1 - stages.index(row["stage"])
        bars.append(
            {
                **row,
                "from": 10 ** row["low"],
                "to": 10 ** row["high"],
                "base": base,
                "top": base + 0.8 * row["height"],
            }
        )
    for stage in stages:
        for ratio in unique(row["ratio"] for row in rows if row["stage"] == stage):
            base = len(stages) - 1 - stages.index(stage)
            labels.append({"stage": stage, "ratio": ratio, "base": base, "at": base + 0.82})
    low = min([0.0, *(row["low"] for row in rows)]) - 0.5
    high = max([0.0, *(row["high"] for row in rows)]) + 0.25
    scale = alt.Scale(type="log", domain=[10**low, 10**high], nice=False)
    x = alt.X("from:Q", title="singular value σ of the Jacobian", scale=scale)
    x = x.axis(powers(math.ceil(low), math.floor(high), step=1))
    tint = in_colours("stage", {stage: colour[stage] for stage in stages})
    y_scale = alt.Scale(domain=[0, len(stages)], nice=False)
    base = table("rows").transform_filter("datum.ratio === ratio")
    y = alt.Y("base:Q", axis=None, scale=y_scale)
    tips = [
        alt.Tooltip("stage:N", title="stage"),
        alt.Tooltip("text:N", title="σ"),
        alt.Tooltip("share:Q", title="share", format=".1%"),
    ]
    ridge = base.mark_rect(opacity=0.85).encode(x=x, x2="to:Q", y=y, y2="top:Q", color=tint, tooltip=tips)
    named = table("labels").transform_filter("datum.ratio === ratio")
    floor = named.mark_rule(strokeWidth=1).encode(y=y, color=tint)
    label = named.mark_text(align="left", baseline="bottom", fontSize=13, fontWeight=600)
    label = label.encode(
        x=alt.value(0), y=alt.Y("at:Q", axis=None, scale=y_scale), text="stage:N", color=tint
    )
    one = table("isometry").mark_rule(strokeDash=[3, 3]).encode(x=x)
    chart = alt.LayerChart(layer=[one, floor, ridge, label]).add_params(_ratio(rows))
    tables = {"rows": bars, "labels": labels, "isometry": [{"from": 1.0}]}
    return Figure(chart.properties(height=92 * len(stages)), tables)


def final_accuracy(cells: Sequence[Cell]) -> Figure | None:
    """Return one network's test accuracy after retraining: mean, 95 % interval and seeds of every series."""
    means, seeds = data.final_rows(cells)
    if not means:
        return None
    entries = [
        entry for entry in data.retrained_series(cells) if any(m["series"] == entry.label for m in means)
    ]
    order = [entry.label for entry in entries]
    dense = over_seeds(cells, "dense.test_accuracy")
    x = alt.X("mean:Q", title="test accuracy, %", scale=alt.Scale(zero=False, nice=False, padding=24))
    x = x.axis(format="~f", tickCount=6)
    # A line a part: on a phone a long name would leave no room for the plot.
    axis = alt.Axis(labelLimit=0, labelPadding=12, grid=False, labelExpr="split(datum.label, ', ')")
    y = alt.Y("series:N", sort=order, title=None, axis=axis)
    lines = max(label.count(", ") + 1 for label in order)
    tint = in_colours("series", {entry.label: entry.colour for entry in entries})
    form = alt.Shape("series:N", legend=None, scale=alt.Scale(domain=order, range=[e.shape for e in entries]))
    tips = [alt.Tooltip("series:N", title="series"), alt.Tooltip("text:N", title="mean ± std")]
    base = table("rows").transform_filter("datum.ratio === ratio")
    interval = base.mark_rule(strokeWidth=2.5, opacity=0.45).encode(x="low:Q", x2="high:Q", y=y, color=tint)
    dots = table("seeds").transform_filter("datum.ratio === ratio")
    dots = dots.mark_tick(thickness=1.5, size=14, opacity=0.7).encode(
        x="value:Q", y=y, color=tint, tooltip=[alt.Tooltip("seed:Q"), alt.Tooltip("value:Q", format=".2f")]
    )
    point = base.mark_point(size=110, filled=True, opacity=1)
    point = point.encode(x=x, y=y, color=tint, shape=form, tooltip=tips)
    label = base.mark_text(align="center", dy=-15, fontWeight=600).encode(x=x, y=y, text="label:N")
    layers = [interval, dots, point, label]
    if dense.n:
        line = table("levels")
        layers.insert(0, line.mark_rule(strokeDash=[3, 3]).encode(x="mean:Q"))
        layers.append(
            line.mark_text(dy=-8, baseline="bottom").encode(x="mean:Q", y=alt.value(0), text="label:N")
        )
    chart = (
        alt.LayerChart(layer=layers)
        .add_params(_ratio(means))
        .properties(height=max(46, 18 * lines) * len(order))
    )
    tables = {"rows": means, "seeds": seeds}
    return Figure(
        chart, tables | ({"levels": [{"mean": 100 * dense.mean, "label": "dense"}]} if dense.n else {})
    )


def _per_epoch(cells: Sequence[Cell], rows: list[Row], y: dict[str, Any], levels: list[Row]) -> Figure | None:
    if not rows:
        return None
    drawn = {row["series"] for row in rows}
    entries = [entry for entry in data.retrained_series(cells) if entry.label in drawn]
    axis, scale = alt.Axis(format="d", tickMinStep=1), alt.Scale(nice=False)
    x = {"title": "epoch of retraining", "axis": axis, "scale": scale}
    return _lines(rows, entries, x, y, levels=levels)


def _lines(
    rows: list[Row],
    entries: list[Series],
    x: dict[str, Any],
    y: dict[str, Any],
    *,
    levels: list[Row],
    overview: bool = False,
    middle: Callable[[float, float], float] = lambda a, b: (a + b) / 2,
) -> Figure:
    """Return mean lines, their bands from the lowest to the highest seed, and one tooltip for all at an x."""
    names = [entry.label for entry in entries]
    # One symbol a row, long enough to tell the dashes apart.
    key = alt.Legend(title=None, orient="bottom", columns=2, symbolType="stroke", symbolSize=900)
    tint = in_colours("series", {e.label: e.colour for e in entries}, key)
    dash = alt.StrokeDash(
        "series:N", scale=alt.Scale(domain=names, range=[list(e.dash) for e in entries]), legend=key
    )

    def of_ratio(name: str) -> alt.Chart:
        return table(name) if overview else table(name).transform_filter("datum.ratio === ratio")

    base = of_ratio("rows").transform_filter(_SHOWN)
    zoom = alt.selection_interval(name="zoom", bind="scales", translate=_DRAG, zoom=_WHEEL)
    across, mean = alt.X("x:Q", **x), alt.Y("mean:Q", **y)
    band = base.mark_area(opacity=0.14, clip=True)
    band = band.encode(x=across, y=alt.Y("low:Q", **y), y2="high:Q", color=tint)
    line = base.mark_line(strokeWidth=2.5, clip=True).encode(x=across, y=mean, color=tint, strokeDash=dash)
    layers: list[Any] = [band, line.add_params(zoom)]
    if overview:
        point = base.mark_point(size=60, filled=True, opacity=1, clip=True)
        # Without scales: with them, the points would draw themselves over the lines of the legend.
        look = {"fill": alt.Fill("ink:N", scale=None), "shape": alt.Shape("mark:N", scale=None)}
        layers.append(point.encode(x=across, y=mean, **look))
    wide, fields = data.hover_rows(rows, middle)
    hover = alt.selection_point(name="hover", fields=["x"], on="pointerover", clear="pointerout", empty=False)
    rule = of_ratio("hover").mark_rule(strokeWidth=1, clip=True)
    layers.append(rule.encode(x=across, opacity=alt.condition(hover, alt.value(0.6), alt.value(0))))
    # Bands from middle to middle and not "nearest": Vega-Lite's voronoi loses the tooltip's words.
    tips = [alt.Tooltip("place:Q", title=x["title"].split(" of ")[0])]
    tips += [alt.Tooltip(f"{field}:N", title=label) for field, label in fields.items()]
    reach = of_ratio("hover").mark_rect(opacity=0, clip=True)
    layers.append(reach.encode(x=alt.X("from:Q", **x), x2="to:Q", tooltip=tips).add_params(hover))
    params = [alt.param(name="hidden", value=[]), *([] if overview else [_ratio(rows)])]
    chart = alt.LayerChart(layer=[*(_levels() if levels else []), *layers])
    tables = {"rows": rows, "hover": wide, "levels": levels}
    return Figure(chart.add_params(*params).properties(height=300), tables, keyed=True)


def _levels() -> list[alt.Chart]:
    """Return horizontal reference lines, named at their right end: the axis has its title at the left."""
    rule = table("levels").mark_rule(strokeDash=[3, 3], clip=True).encode(y="y:Q")
    # A name may stand above the plot; charts that zoom clip every mark that does not say otherwise.
    label = table("levels").mark_text(align="right", baseline="bottom", dy=-4, clip=False)
    return [rule, label.encode(y="y:Q", x=alt.value("width"), text="label:N")]


def _log(rows: Sequence[Row]) -> dict[str, Any]:
    """Return scale and axis of a logarithmic quantity: a line at every power of ten, or every second."""
    span = math.log10(max(row["high"] for row in rows) / min(row["low"] for row in rows))
    axis = powers(-16, 6, step=1 if span < 8 else 2)
    return {"scale": alt.Scale(type="log", nice=False, padding=24), "axis": axis}


def _ratio(rows: Sequence[Row]) -> alt.Parameter:
    """Return the parameter that picks the ratio shown; the largest at first."""
    return alt.param(name="ratio", value=max((row["ratio"] for row in rows), key=float))


class FigureKind(NamedTuple):
    """A figure of one network: its ids begin with the section's and end with ``place``."""

    place: str
    file: str
    make: Callable[[Sequence[Cell]], Figure | None]
    title: str
    note: str


_SEEDS = "mean over seeds; band: lowest to highest seed"
BY_SIZE = FigureKind("size", "accuracy_vs_size", accuracy_against_size, "Accuracy against size", _SEEDS)
OF_A_NETWORK = (
    FigureKind(
        "sigma",
        "singular_values",
        singular_values,
        "Singular values of the Jacobian",
        "every stage as high as its fullest bin; dashed: σ\u00a0=\u00a01, isometry",
    ),
    FigureKind(
        "final",
        "final_accuracy",
        final_accuracy,
        "Where retraining ends",
        "point: mean; ticks: seeds; bar: 95 % interval of the mean",
    ),
    FigureKind("accuracy", "accuracy_per_epoch", accuracy_per_epoch, "Accuracy while retraining", _SEEDS),
    FigureKind("jsv", "jsv_per_epoch", jsv_per_epoch, "Mean JSV while retraining", _SEEDS),
)
BY_BUDGET = FigureKind(
    "accuracy",
    "frontier",
    accuracy_against_budget,
    "Accuracy against the budget of retraining",
    "each budget trained on its own; rates chosen on validation data; band: lowest to highest seed",
)
