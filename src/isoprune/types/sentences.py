"""Sentences from templates: every line that is left of one is a sentence."""

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
    environment = _environment(file.parent)
    environment.filters |= filters or {}
    lines = environment.get_template(file.name).render(facts).split("\n")
    return [line.strip(" ") for line in lines if line.strip(" ")]


@functools.cache
def _environment(folder: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    environment.filters["fmt"] = format
    return environment
