"""A diagnosis -> charts: where the singular values lie, their means, and which layer lost the gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from isoprune.comparison import text
from isoprune.reporting import series as data
from isoprune.reporting import theme
from isoprune.reporting.charts import Figure, in_colours, powers, table
from isoprune.reporting.figures import ridges

LAYERS = 48  # more are not drawn: those that changed most are
_FLOOR = (
    1e-12  # a dead layer's gain of zero has no logarithm: it is drawn here, its true value in the tooltip
)


def colours(networks: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return a colour for each network: the dense and the diagnosed one as on every other page."""
    known = {"dense": theme.INK, "own": theme.RED}
    chosen = {n["name"]: known[n["role"]] for n in networks if n["role"] in known}
    chosen |= {name: theme.BLUE for name in ("orthp",) if any(n["name"] == name for n in networks)}
    others = [n["name"] for n in networks if n["name"] not in chosen]
    free = [c for c in theme.PALETTE if c not in (*known.values(), theme.BLUE)]
    return chosen | {name: free[i % len(free)] for i, name in enumerate(others)}


def singular_values(networks: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Return the distribution of every network's singular values; None if none is known exactly."""
    rows = []
    for network in networks:
        if (histogram := network["histogram"]) is not None:
            total = sum(histogram["counts"])
            shares = [count / total for count in histogram["counts"]]
            rows += data.histogram_rows(network["name"], "0", histogram["edges"], shares)
    return ridges(rows, colours(networks)) if rows else None


def means(networks: Sequence[Mapping[str, Any]]) -> Figure:
    """Return the mean singular value of every network (log), with its error bar where it is estimated."""
    rows = []
    for network in networks:
        mean, error = network["jsv"]["mean"], network["jsv"].get("mean_error", 0.0)
        words = text.number(mean) + (f" ± {text.number(error)}" if error else "")
        ends = {"mean": mean, "low": mean - error, "high": mean + error}
        place = {key: max(value, data.FLOOR) for key, value in ends.items()}
        rows.append({"network": network["name"], "text": words, **place})
    order = [network["name"] for network in networks]
    ends = [1.0, *(row[key] for row in rows for key in ("low", "high"))]
    x = alt.X("mean:Q", title="mean singular value", **_log(ends))
    y = alt.Y("network:N", sort=order, title=None, axis=_names())
    tint = in_colours("network", colours(networks))
    base = table("rows")
    tips = [alt.Tooltip("network:N"), alt.Tooltip("text:N", title="mean")]
    one = table("isometry").mark_rule(strokeDash=[3, 3]).encode(x="mean:Q")
    bar = base.mark_rule(strokeWidth=3, opacity=0.45).encode(x="low:Q", x2="high:Q", y=y, color=tint)
    point = base.mark_point(size=110, filled=True, opacity=1).encode(x=x, y=y, color=tint, tooltip=tips)
    label = base.mark_text(dy=-14, fontWeight=600).encode(x=x, y=y, text="text:N")
    chart = alt.LayerChart(layer=[one, bar, point, label]).properties(height=48 * len(rows))
    return Figure(chart, {"rows": rows, "isometry": [{"mean": 1.0}]})


def layers(rows: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Return each layer's backward gain (log) in the order they run, beside the dense network's if known."""
    if not rows:
        return None
    chosen = sorted(rows, key=lambda row: -abs(row["lost"]))[:LAYERS]
    names = {id(row) for row in chosen}
    shown = [row for row in rows if id(row) in names]
    compared = any("dense_backward_gain" in row for row in shown)
    made = []
    for row in shown:
        before = row.get("dense_backward_gain")
        made.append(
            {
                "layer": row["name"],
                "kind": row["kind"],
                "gain": max(row["backward_gain"], _FLOOR),
                "before": max(before if before is not None else 1.0, _FLOOR),
                "own": text.number(row["backward_gain"]),
                "dense": text.MISSING if before is None else text.number(before),
                "share": row["share"],
                "back": text.MISSING if (back := row.get("comes_back")) is None else f"{back:.0%}",
                "lost": row["lost"] > 0,
            }
        )
    ends = [1.0, *(row[key] for row in made for key in ("gain", "before"))]
    x = alt.X("gain:Q", title="gain of the gradient", **_log(ends))
    y = alt.Y("layer:N", sort=[row["layer"] for row in made], title=None, axis=_names())
    tips = [
        alt.Tooltip("layer:N"),
        alt.Tooltip("kind:N"),
        alt.Tooltip("own:N", title="gain"),
        *([alt.Tooltip("dense:N", title="dense gain")] if compared else []),
        alt.Tooltip("share:Q", title="share of the loss, along its path", format=".0%"),
        alt.Tooltip("back:N", title="comes back, restored"),
    ]
    base = table("rows")
    tint = alt.Color(
        "lost:N", legend=None, scale=alt.Scale(domain=[True, False], range=[theme.RED, theme.GREEN])
    )
    one = table("isometry").mark_rule(strokeDash=[3, 3]).encode(x="gain:Q")
    way = base.mark_rule(strokeWidth=3, opacity=0.4).encode(x="before:Q", x2="gain:Q", y=y, color=tint)
    marks: list[Any] = [one, way]
    if compared:
        ring = base.mark_point(size=55, filled=False, strokeWidth=1.8, opacity=1, color=theme.INK)
        marks.append(ring.encode(x="before:Q", y=y, tooltip=tips))
    marks.append(base.mark_point(size=70, filled=True, opacity=1).encode(x=x, y=y, color=tint, tooltip=tips))
    chart = alt.LayerChart(layer=marks).properties(height=max(22 * len(made), 80))
    return Figure(chart, {"rows": made, "isometry": [{"gain": 1.0}]})


def forecast(expected: Mapping[str, Any]) -> Figure | None:
    """Return the expected accuracy with its intervals, beside the dense network's; None if there is none."""
    if expected["accuracy"] is None:
        return None
    rows = [
        {"network": "dense", "accuracy": 100 * expected["dense"], "text": f"{100 * expected['dense']:.1f} %"}
    ]
    words = f"{100 * expected['accuracy']:.1f} %"
    rows.append({"network": "retrained", "accuracy": 100 * expected["accuracy"], "text": words})
    spans = [
        {"network": "retrained", "low": 100 * low, "high": 100 * high, "share": f"{share} %"}
        for share, (low, high) in sorted(expected["intervals"].items(), key=lambda item: -float(item[0]))
    ]
    ends = [row["accuracy"] for row in rows] + [span[key] for span in spans for key in ("low", "high")]
    margin = max(0.08 * (max(ends) - min(ends)), 0.5)
    domain = [max(min(ends) - margin, 0.0), min(max(ends) + margin, 100.0)]
    x = alt.X(
        "accuracy:Q", title="accuracy, %", scale=alt.Scale(domain=domain, nice=False, zero=False, padding=12),
        axis=alt.Axis(tickCount=6),
    )  # fmt: skip
    y = alt.Y("network:N", sort=["dense", "retrained"], title=None, axis=_names())
    tint = in_colours("network", {"dense": theme.INK, "retrained": theme.BLUE})
    tips = [
        alt.Tooltip("share:N", title="interval"),
        *(alt.Tooltip(f"{key}:Q", format=".1f") for key in ("low", "high")),
    ]
    width = alt.StrokeWidth(
        "share:O", legend=None,
        scale=alt.Scale(domain=[span["share"] for span in spans], range=[3, 9][-len(spans):]),
    )  # fmt: skip
    bar = (
        table("spans")
        .mark_rule(opacity=0.45)
        .encode(x="low:Q", x2="high:Q", y=y, color=tint, strokeWidth=width, tooltip=tips)
    )
    base = table("rows")
    point = base.mark_point(size=110, filled=True, opacity=1).encode(
        x=x, y=y, color=tint, tooltip=[alt.Tooltip("network:N"), alt.Tooltip("text:N", title="accuracy")]
    )
    label = base.mark_text(dy=-14, fontWeight=600).encode(x=x, y=y, text="text:N")
    chart = alt.LayerChart(layer=[bar, point, label]).properties(height=48 * len(rows))
    return Figure(chart, {"rows": rows, "spans": spans})


def _log(values: Sequence[float]) -> dict[str, Any]:
    """Return scale and axis of a logarithmic quantity that takes these values."""
    margin = 0.1 + 0.07 * math.log10(max(values) / min(values))
    low, high = math.log10(min(values)) - margin, math.log10(max(values)) + margin
    scale = alt.Scale(type="log", domain=[10.0**low, 10.0**high], nice=False)
    if high - low < 2:
        return {"scale": scale, "axis": alt.Axis(format="~g", tickCount=6)}
    return {"scale": scale, "axis": powers(math.ceil(low), math.floor(high))}


def _names() -> alt.Axis:
    return alt.Axis(labelLimit=150, labelPadding=8, grid=False, labelOverlap=False)
