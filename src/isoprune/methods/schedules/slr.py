"""Scaled learning-rate restarting: warm-up, then the dense training's steps scaled to fewer epochs."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

from isoprune.methods.schedules.step_decay import step_decay
from isoprune.methods.schedules.warm_up import warm_up
from isoprune.types import IsopruneError, Schedule
from isoprune.types.method import method


@method("schedule", source="Le & Hua, ICLR 2021, arXiv 2105.03193")
def slr(
    *,
    epochs: int | float,
    rise: float = 0.1,
    start: float = 0.01,
    milestones: Sequence[int | float] = (0.45, 0.675),
    gamma: float = 0.1,
) -> Schedule:
    """Return a cosine rise from ``start`` to the peak in the part ``rise`` of the run, then step decay.

    The learning rate is the peak, the dense training's first (0.1 in the source). The rise and the
    milestones are rounded down to whole epochs, as in the source's runs; retraining of 40 epochs rises in 4
    and falls at epochs 4 + 18 and 4 + 27.

    Args:
        epochs: How many there are in all, 10 at least.
        rise: Part of the run.
        start: Factor at the first step; 1e-3 on 0.1 in the source.
        milestones: When the rate falls, counted from the end of the rise. A float is a part of the whole run
            (CIFAR's dense training of 160 epochs falls after a half and three quarters; of the 0.9 that are
            left, 0.45 and 0.675), an integer an epoch.
        gamma: The factor of one step.

    Raises:
        IsopruneError: If the rise has no whole epoch, or an option is out of its range.
    """
    if not 0 < rise < 1:
        raise IsopruneError(f"rise = {rise}; it is the part of the run that rises, between 0 and 1.")
    length = _whole(rise * epochs)
    if length < 1:
        raise IsopruneError(
            f"slr: rise = {rise} of {epochs:g} epochs is no whole epoch. Train longer, or write a warm_up "
            "with a rise in parts of the run around a step_decay."
        )
    steps = [m if isinstance(m, int) else _whole(m * epochs) for m in milestones]
    rest = functools.partial(step_decay, milestones=steps, gamma=gamma)
    return warm_up(epochs=epochs, schedule=rest, rise=length, start=start, curve="cosine")


def _whole(epochs: int | float) -> int:
    # 0.1 * 30 is 3.0000000000000004, and other products fall short as much.
    return math.floor(epochs + 1e-9)
