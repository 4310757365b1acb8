"""Advice -> charts: what every probed rate ends at, and the rate over the training that is advised."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import altair as alt

from isoprune.comparison import text
from isoprune.reporting import theme
from isoprune.reporting.charts import Figure, table

_Z = 1.959964  # of a normal, 19 times of 20


def interval(accuracy: float, samples: int) -> tuple[float, float]:
    """Return the interval that holds a frequency 19 times of 20; it has a width even at 0 and 1.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    weight = 1 + _Z**2 / samples
    middle = (accuracy + _Z**2 / (2 * samples)) / weight
    half = _Z * math.sqrt(accuracy * (1 - accuracy) / samples + (_Z / (2 * samples)) ** 2) / weight
    return max(middle - half, 0.0), min(middle + half, 1.0)


def accuracies(record: Mapping[str, Any]) -> Figure:
    """Return held-out accuracy against rate (log), with error bars and what to hold it against."""
    probes, advised = record["probes"], record["lr"]
    ended = [p for p in probes if p["metric_value"] is not None]
    best = max(p["metric_value"] for p in ended)
    rows, lost = [], []
    for probe in probes:
        rate = {"rate": probe["lr"], "text": text.plain(probe["lr"])}
        if probe["metric_value"] is None:
            lost.append({**rate, "label": "diverged"})
            continue
        low, high = interval(probe["metric_value"], record["judge_samples"])
        shown = {"accuracy": 100 * probe["metric_value"], "low": 100 * low, "high": 100 * high}
        words = f"{shown['accuracy']:.1f} % ({shown['low']:.1f} to {shown['high']:.1f})"
        own = {"advised": probe["lr"] == advised, "told": words, "loss": text.number(probe["loss"])}
        rows.append({**rate, **shown, **own})
    levels = [
        {"y": 100 * record["metric_before"], "label": "before any step"},
        {"y": 100 * record["chance"], "label": "most frequent class"},
    ]
    levels.sort(key=lambda level: -level["y"])
    # The lower of two lines has its name below, so that names never lie on each other.
    levels[0]["above"], levels[1]["above"] = True, False
    band = [{"y": 100 * (best - record["tolerance"]), "top": 100 * best}]
    ends = [row[key] for row in rows for key in ("low", "high")] + [level["y"] for level in levels]
    margin = 0.12 * (max(ends) - min(ends)) + 1
    y_scale = alt.Scale(domain=[min(ends) - margin, max(ends) + margin], nice=False, zero=False)
    y = alt.Y("accuracy:Q", title="held-out accuracy, %", scale=y_scale, axis=alt.Axis(tickCount=6))
    rates = [p["lr"] for p in probes]
    spread = 10 ** (0.12 * max(math.log10(rates[-1] / rates[0]), 0.5))
    scale = alt.Scale(type="log", domain=[rates[0] / spread, rates[-1] * spread], nice=False)
    axis = alt.Axis(values=rates, format="~g", labelOverlap="greedy")
    x = alt.X("rate:Q", title="learning rate", scale=scale, axis=axis)
    tint = alt.condition("datum.advised", alt.value(theme.GREEN), alt.value(theme.INK))
    tips = [
        alt.Tooltip("text:N", title="rate"),
        alt.Tooltip("told:N", title="accuracy"),
        alt.Tooltip("loss:N"),
    ]
    base = table("rows")
    marks: list[Any] = [
        table("band")
        .mark_rect(opacity=0.16, color=theme.GREEN)
        .encode(y=alt.Y("y:Q", scale=y_scale), y2="top:Q"),
        table("levels").mark_rule(strokeDash=[3, 3]).encode(y=alt.Y("y:Q", scale=y_scale)),
        *(_named(above, y_scale) for above in (True, False)),
        base.mark_line(strokeWidth=1.5, opacity=0.5, color=theme.INK).encode(x=x, y=y),
        base.mark_rule(strokeWidth=2.5, opacity=0.45).encode(
            x=x, y=alt.Y("low:Q", scale=y_scale), y2="high:Q", color=tint
        ),
        base.mark_point(size=110, filled=True, opacity=1).encode(x=x, y=y, color=tint, tooltip=tips),
        base.transform_filter("datum.advised")
        .mark_text(dy=-14, fontWeight=600, color=theme.GREEN)
        .encode(x=x, y=alt.Y("high:Q", scale=y_scale), text=alt.value("advised")),
    ]
    if lost:
        cross = table("lost").mark_point(
            shape="cross", angle=45, size=110, filled=True, opacity=1, color=theme.RED
        )
        marks.append(
            cross.encode(x=x, y=alt.value(285), tooltip=[alt.Tooltip("text:N", title="rate"), "label:N"])
        )
        name = table("lost").mark_text(dy=-14, color=theme.RED)
        marks.append(name.encode(x=x, y=alt.value(285), text="label:N"))
    chart = alt.LayerChart(layer=marks).properties(height=300)
    return Figure(chart, {"rows": rows, "band": band, "levels": levels, "lost": lost})


def _named(above: bool, scale: alt.Scale) -> alt.Chart:
    base = table("levels").transform_filter("datum.above" if above else "!datum.above")
    mark = base.mark_text(align="left", baseline="bottom" if above else "top", dy=-4 if above else 5)
    return mark.encode(y=alt.Y("y:Q", scale=scale), x=alt.value(4), text="label:N")


def schedule(record: Mapping[str, Any]) -> Figure:
    """Return the rate at every step of the training that is advised."""
    rows = [{"step": at * record["steps"], "rate": factor * record["lr"]} for at, factor in record["curve"]]
    for row in rows:
        row["text"] = text.number(row["rate"])
    scale = alt.Scale(domain=[0, record["steps"]], nice=False)
    x = alt.X("step:Q", title="step", scale=scale, axis=alt.Axis(format="~s", tickCount=6))
    y = alt.Y("rate:Q", title="learning rate", axis=alt.Axis(format="~g", tickCount=6))
    tips = [alt.Tooltip("step:Q", format=",.0f"), alt.Tooltip("text:N", title="rate")]
    line = table("rows").mark_line(strokeWidth=2.5, color=theme.GREEN).encode(x=x, y=y)
    reach = table("rows").mark_point(size=120, opacity=0).encode(x=x, y=y, tooltip=tips)
    chart = alt.LayerChart(layer=[line, reach]).properties(height=220)
    return Figure(chart, {"rows": rows})
