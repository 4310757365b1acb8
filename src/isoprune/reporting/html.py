"""One HTML file that works offline: its template, its scripts and styles, and writing it whole."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import altair as alt
import jinja2
import vl_convert

from isoprune.reporting import figures, theme
from isoprune.types import IsopruneError
from isoprune.types.files import write_atomic

_TEMPLATE = Path(__file__).parent / "template"


def render(template: str, charts: dict[str, Any], /, **content: Any) -> str:
    """Return the page that ``template`` makes of ``content``; ``charts`` are specifications by id."""
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
            data=json.dumps(_finite(data), allow_nan=False, ensure_ascii=False, separators=(",", ":")),
            style=(_TEMPLATE / "page.css").read_text(encoding="utf-8"),
            script=(_TEMPLATE / "page.js").read_text(encoding="utf-8"),
            vega=_bundle() if charts else "",
        )
    )


def chart(name: str, figure: figures.Figure | None, title: str, note: str) -> dict[str, Any] | None:
    """Return what the template needs of one chart; None for none."""
    if figure is None:
        return None
    spec = figures.specification(figure)
    return {"id": name, "title": title, "note": note, "spec": spec, "height": spec["height"]}


def write(page: str, file: Path) -> Path:
    """Write ``page`` whole or not at all, and return its path.

    Raises:
        IsopruneError: If it cannot be written.
    """
    try:
        write_atomic(file, page.encode())
    except OSError as error:
        raise IsopruneError(
            f"The page cannot be written to {file}: {error.strerror}. Give another place for it."
        ) from error
    return file


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["tied"] = _tied
    return environment


def _tied(sentence: object) -> str:
    """Return a sentence whose numbers do not part from their units at the end of a line."""
    tied = str(sentence).replace(" %", "\u00a0%").replace(" = ", "\u00a0=\u00a0")
    return re.sub(r"(?<=\de)-(?=\d)", "\u2011", re.sub(r"LR (?=\d)", "LR\u00a0", tied))


def _finite(item: Any) -> Any:
    """Return JSON without NaN and infinity, which JSON does not have: they become null."""
    if isinstance(item, dict):
        return {key: _finite(inner) for key, inner in item.items()}
    if isinstance(item, list | tuple):
        return [_finite(inner) for inner in item]
    return (
        None if isinstance(item, float) and (item != item or item in (float("inf"), -float("inf"))) else item
    )


@functools.cache
def _bundle() -> str:
    """Return Vega, Vega-Lite and vega-embed as one script that a script element can hold."""
    version = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version)
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")
