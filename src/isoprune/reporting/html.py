"""One HTML file that works offline: its template, its charts, scripts and styles."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import vl_convert

from isoprune.reporting import theme
from isoprune.reporting.charts import VEGA_LITE, Figure, specification
from isoprune.types.json_files import finite
from isoprune.types.sentences import environment
from isoprune.types.tables import markdown

_TEMPLATE = Path(__file__).parent / "template"


def text(template: str, **content: Any) -> str:
    """Return the Markdown that ``template`` makes of ``content``."""
    return _environment().get_template(template).render(**content)


@dataclass(frozen=True)
class Chart:
    """A figure on a page: where, under which title and note, and as which specification."""

    id: str
    title: str
    note: str
    spec: dict[str, Any]

    @property
    def height(self) -> int:
        return self.spec["height"]


def charts(*made: tuple[str, Figure | None, str, str]) -> list[Chart]:
    """Return the charts of those figures (id, figure, title, note) that there are."""
    return [
        Chart(name, title, note, specification(figure))
        for name, figure, title, note in made
        if figure is not None
    ]


def render(template: str, /, **content: Any) -> str:
    """Return the page that ``template`` makes of ``content``, and of the charts anywhere in it."""
    charts = {chart.id: chart.spec for chart in _charts_in(content)}
    data = {
        "charts": charts,
        "themes": {"light": theme.config(), "dark": theme.config(dark=True)},
        "swap": theme.DARK,
    }
    return (
        _environment()
        .get_template(template)
        .render(
            **content,
            palette=[(colour, theme.DARK[colour]) for colour in theme.PALETTE],
            data=json.dumps(finite(data), allow_nan=False, ensure_ascii=False, separators=(",", ":")),
            style=(_TEMPLATE / "page.css").read_text(encoding="utf-8"),
            script=(_TEMPLATE / "page.js").read_text(encoding="utf-8"),
            vega=_bundle() if charts else "",
        )
    )


def _charts_in(content: Any) -> Iterator[Chart]:
    if isinstance(content, Chart):
        yield content
    elif isinstance(content, dict | list | tuple):
        for part in content.values() if isinstance(content, dict) else content:
            yield from _charts_in(part)


@functools.cache
def _environment() -> jinja2.Environment:
    made = environment(_TEMPLATE)
    made.filters |= {"tied": _tied, "markdown": markdown}
    return made


def _tied(sentence: object) -> str:
    """Return a sentence whose numbers do not part from their units at the end of a line."""
    tied = str(sentence).replace(" %", "\u00a0%").replace(" = ", "\u00a0=\u00a0")
    return re.sub(r"(?<=\de)-(?=\d)", "\u2011", re.sub(r"LR (?=\d)", "LR\u00a0", tied))


@functools.cache
def _bundle() -> str:
    """Return Vega, Vega-Lite and vega-embed as one script that a script element can hold."""
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")
