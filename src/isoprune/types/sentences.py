"""Sentences from templates: every rendered line that is not empty is one sentence."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2


def sentences_of(
    file: Path, facts: Mapping[str, Any], filters: Mapping[str, Callable[..., Any]] | None = None
) -> list[str]:
    """Return the sentences that a template makes of facts, one for each line with words.

    A template writes numbers as Python does, ``{{ x | fmt(".3g") }}``, or by its own ``filters``.
    """
    made = environment(file.parent)
    made.filters |= filters or {}
    lines = made.get_template(file.name).render(facts).split("\n")
    return [line.strip(" ") for line in lines if line.strip(" ")]


@functools.cache
def environment(folder: Path) -> jinja2.Environment:
    """Return what renders the templates of a folder; pages escaped, a name that is not there refused."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    made.filters["fmt"] = format
    return made
