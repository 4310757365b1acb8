"""How results are displayed: a few lines at the prompt, the same in a notebook."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, TypeVar

SCREEN = 12  # lines of what there may be many of: with its head it fits a terminal of 24

C = TypeVar("C", bound=type[Any])


def shown(cls: C) -> C:
    """Display a class by its ``__str__``, at the prompt and in a notebook."""
    cls.__repr__ = cls.__str__
    cls._repr_html_ = lambda self: f"<pre>{html.escape(str(self))}</pre>"
    return cls


def screenful(head: str, rows: Sequence[str], rest: str) -> str:
    """Return ``head`` over as many rows as fit a screen; ``rest`` says where the others are."""
    lines = [f"  {row[:110]}" for row in rows[:SCREEN]]
    if len(rows) > SCREEN:
        lines.append(f"  ... and {len(rows) - SCREEN} more: {rest}")
    return "\n".join([head, *lines])
