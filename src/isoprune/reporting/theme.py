"""Colours, dashes and type of the charts, for paper, light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Okabe and Ito, "Color Universal Design", 2008. The yellow is left out: it vanishes on white.
INK, ORANGE, SKY, GREEN, BLUE, RED, PURPLE = (
    "#3d3d3d",
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#0072b2",
    "#d55e00",
    "#cc79a7",
)
PALETTE = (INK, RED, BLUE, GREEN, PURPLE, ORANGE, SKY)
# The same hues, lifted to at least 4.5 : 1 on the dark page.
DARK = dict(
    zip(PALETTE, ("#d6d6d6", "#f58a4b", "#5aa9e6", "#35c49b", "#e09cc3", "#f2b84b", "#8fd0f5"), strict=True)
)
# Networks take their colours from the other end, so that a network is not taken for a repair.
NETWORKS = (PURPLE, ORANGE, SKY, INK, GREEN, BLUE, RED)
DASHES = ((1, 0), (6, 4), (2, 3), (10, 3, 2, 3), (12, 4), (1, 5))
SHAPES = ("circle", "diamond", "square", "triangle-up", "cross", "triangle-down")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif"
# Of the roles that every study has; a repair takes what is left.
DENSE, UNTOUCHED, CONTROL = INK, RED, GREEN
_REPAIRS = (BLUE, PURPLE, ORANGE, SKY, GREEN, RED)


def colours(labels: Sequence[str], fixed: Mapping[str, str]) -> dict[str, str]:
    """Return a colour for each label: of ``fixed`` where it is there, else one that is used least."""
    chosen = {label: fixed[label] for label in labels if label in fixed}
    for label in labels:
        if label not in chosen:
            used = list(chosen.values())
            chosen[label] = min(_REPAIRS, key=used.count)
    return chosen


def config(*, dark: bool = False) -> dict[str, Any]:
    """Return the Vega-Lite config; the background is the page's."""
    ink, soft, grid = ("#e8e6e1", "#a8a59d", "#34353a") if dark else ("#22252a", "#62666d", "#e7e5df")
    return {
        "background": "transparent",
        "font": FONT,
        "padding": 4,
        "view": {"stroke": None},
        "axis": {
            "labelColor": soft,
            "titleColor": soft,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "domainColor": soft,
            "tickColor": soft,
            "gridColor": grid,
            "labelPadding": 6,
            "titlePadding": 10,
            "domain": False,
            "ticks": False,
        },
        "axisX": {"grid": False, "domain": True, "ticks": True, "tickSize": 4},
        "axisY": {"titleAngle": 0, "titleAlign": "left", "titleAnchor": "end", "titleY": -12, "titleX": 0},
        "legend": {
            "labelColor": ink,
            "titleColor": soft,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "labelLimit": 0,
            "symbolStrokeWidth": 2.5,
            "symbolOpacity": 1,
        },
        "text": {"color": ink, "fontSize": 12},
        "rule": {"color": soft},
        "title": {"color": ink, "fontSize": 15, "fontWeight": 600, "anchor": "start", "offset": 16},
    }
