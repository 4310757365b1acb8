"""Sentences from templates: every line that is left of one is a sentence."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jinja2

from isoprune.comparison import text


def sentences_of(file: Path, **facts: Any) -> list[str]:
    """Return the sentences that a template makes of facts, one for each line with words."""
    lines = _environment(file.parent).get_template(file.name).render(facts).split("\n")
    return [line.strip(" ") for line in lines if line.strip(" ")]


def _share(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


@functools.cache
def _environment(folder: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    environment.filters |= {
        "plain": text.plain,
        "counted": text.count,
        "points": text.points,
        "listed": text.listed,
        "share": _share,
    }
    return environment
