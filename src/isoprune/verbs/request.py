"""How much is to go: one of a ratio, a budget, what a grain says, or what is zero."""

from __future__ import annotations

from typing import Any

from isoprune.pruning.grains import Grain
from isoprune.types import IsopruneError


def requested(grain: Grain, zeros: bool, mask: bool, **targets: Any) -> tuple[str, Any]:
    """Return which of the ways to say how much goes was taken, and its value."""
    given = {name: value for name, value in targets.items() if value is not None}
    if zeros:
        if given or mask or grain.name != "channel":
            raise IsopruneError(
                "criterion='zeros' removes exactly the channels that are zero: give no "
                f"{', '.join(given) or ('mask' if mask else 'grain')}."
            )
        return "zeros", None
    if grain.name == "n:m":
        if given:
            raise IsopruneError(f"The grain {grain} says how much goes: give no {' or '.join(given)}.")
        return "ratio", None
    if len(given) != 1:
        raise IsopruneError(
            f"Give one of ratio, flops, parameters and latency; got {', '.join(given) or 'none'}."
        )
    what, target = next(iter(given.items()))
    if what != "ratio" and grain.name != "channel":
        raise IsopruneError(
            f"A budget of {what} is met by removing channels: masks of {grain}s save a dense kernel "
            "nothing. Give ratio=, or grain='channel'."
        )
    return what, target
