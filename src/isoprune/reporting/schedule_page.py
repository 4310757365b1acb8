"""Schedules -> one file: a page, or a picture of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isoprune.reporting import html, theme
from isoprune.reporting.export import WRITERS, write_picture
from isoprune.reporting.schedule_figures import Curve, panel, sheet
from isoprune.types import IsopruneError

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
        return html.write(_page(curves), out)
    spec = sheet(curves)
    config = theme.config(dark=dark)
    config["title"]["subtitleColor"] = config["axis"]["labelColor"]
    spec["config"] = {**config, "background": "#17181b" if dark else "white", "padding": 16}
    return write_picture(spec, out)


def _page(curves: Sequence[Curve]) -> str:
    charts = html.charts(*((f"schedule-{c.name}", panel(c), c.name, c.told) for c in curves))
    epochs = f"{curves[0].points[-1][0]:g}"
    return html.render("schedules.html.j2", title="Learning-rate schedules", charts=charts, epochs=epochs)
