"""Whether a repair knows what a plan is made of: asked before anything is repaired."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from isoprune.pruning.grains import read_grain
from isoprune.types import IsopruneError
from isoprune.types.method import method_of
from isoprune.types.units import DEPTH


def require_grain(repair: Callable[..., Any], grain: str) -> None:
    """Refuse a repair that does not know units of a grain ("channel", "2:4", ...) rather than skip its work.

    A function of your own that no `@method` describes is not refused.

    Raises:
        IsopruneError: Naming the repair, and what it knows.
    """
    facts, name = method_of(repair), getattr(getattr(repair, "func", repair), "__name__", "own")
    asked = read_grain(grain).name
    if facts.kind != "repair" or asked in facts.grains:
        return
    if asked == DEPTH:
        raise IsopruneError(
            f"Repair {name!r} goes by layers that are still there, and whole blocks went. Take 'polish', "
            "which trains toward the dense outputs, or 'batchnorm'."
        )
    raise IsopruneError(
        f"Repair {name!r} knows units of grain {', '.join(facts.grains)}, and those that went are of grain "
        f"{grain!r}. Take 'reconstruct', which fits what a mask leaves, or prune by whole channels."
    )
