"""Cyclic learning-rate restarting: one cycle over the whole retraining."""

from __future__ import annotations

from isoprune.methods.schedules.one_cycle import one_cycle
from isoprune.types import IsopruneError, Schedule
from isoprune.types.method import method


@method("schedule", source="Le & Hua, ICLR 2021, arXiv 2105.03193")
def clr(*, rise: float = 0.1, div: float = 100.0, final_div: float = 100.0) -> Schedule:
    """Return one cycle that starts ``div`` times below its peak and ends ``final_div`` times below its start.

    The learning rate is the peak, the dense training's first (0.1 in the source). Momentum stays as it is.

    Args:
        rise: The part of the run that rises.
        div: Peak over first rate.
        final_div: First rate over last.

    Raises:
        IsopruneError: If ``rise`` is outside [0, 1), or ``div`` or ``final_div`` below 1.
    """
    for name, factor in (("div", div), ("final_div", final_div)):
        if not 1 <= factor < float("inf"):
            raise IsopruneError(f"{name} = {factor}; the peak is divided by it, so it is at least 1.")
    return one_cycle(rise=rise, start=1 / div, end=1 / div / final_div)
