"""A rise before, or over the beginning of, any schedule."""

from __future__ import annotations

from dataclasses import dataclass

from isoprune.methods.schedules.curves import CURVES, check_epochs, part_of_run, snapped
from isoprune.methods.schedules.nested import Make, made
from isoprune.types import IsopruneError, Schedule
from isoprune.types.errors import check_known
from isoprune.types.method import method


@dataclass(frozen=True)
class WarmUp:
    """progress -> ``inner`` times a rise from ``start`` to 1 during the first ``rise`` of ``epochs``.

    ``inner`` begins at epoch ``begin`` and runs to the end.
    """

    inner: Schedule
    epochs: int | float
    rise: int | float
    begin: int | float
    start: float
    curve: str

    def __call__(self, progress: float) -> float:
        epoch = snapped(progress * self.epochs)
        since = max(0.0, snapped(progress * self.epochs - self.begin))
        factor = self.inner(min(1.0, since / (self.epochs - self.begin)))
        if epoch >= self.rise:
            return factor
        return factor * CURVES[self.curve](self.start, 1.0, epoch / self.rise)


@method("schedule", source="Goyal et al., 2017, arXiv 1706.02677")
def warm_up(
    *,
    epochs: int | float,
    schedule: Make,
    rise: int | float,
    start: float = 0.01,
    curve: str = "linear",
    over: str = "rest",
) -> Schedule:
    """Return ``schedule`` with a learning rate that rises to it from ``start`` times its first.

    In a config: ``{name = "warm_up", rise = 5, schedule = {name = "step_decay", milestones = [30, 60]}}``.

    Args:
        epochs: How many there are in all.
        schedule: What comes after the rise: one that is made, or a function that makes it for some epochs.
        rise: How long. An integer counts epochs, a float is a part of the run.
        start: Factor at the first step.
        curve: Of the rise, "linear" or "cosine".
        over: What ``schedule`` runs over: the "rest", its epochs counted from the end of the rise, as SLR of
            Le & Hua does; or the "whole" run, whose first epochs the rise then only lowers, as Goyal et al.
            do.

    Raises:
        IsopruneError: If a number is out of its range, or the rise leaves nothing.
    """
    check_epochs(epochs)
    part = part_of_run(rise, "rise", epochs)
    if part == 1:
        raise IsopruneError(f"rise = {rise} of {epochs:g} epochs leaves none for the schedule. Lower it.")
    if not 0 < start <= 1:
        raise IsopruneError(f"start = {start}; it is a factor on the first rate, above 0 and at most 1.")
    check_known(curve, CURVES, "curve")
    check_known(over, ("rest", "whole"), "value of over")
    length = rise if isinstance(rise, int) else snapped(part * epochs)
    begin = length if over == "rest" else 0
    inner = made(schedule, epochs=epochs - begin)
    return WarmUp(inner, epochs, length, begin, start, curve)
