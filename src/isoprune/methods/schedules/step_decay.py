"""The learning rate times a constant at each of a few milestones."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from isoprune.methods.schedules.curves import check_epochs
from isoprune.types import IsopruneError, Schedule
from isoprune.types.method import method


@dataclass(frozen=True)
class StepDecay:
    """progress -> ``gamma`` to the number of ``boundaries`` (ascending, in (0, 1)) at or before it."""

    boundaries: tuple[float, ...]
    gamma: float

    def __call__(self, progress: float) -> float:
        return self.gamma ** bisect_right(self.boundaries, progress)


@method("schedule")
def step_decay(
    *, epochs: int | float, milestones: Sequence[int | float] = (1 / 3, 2 / 3), gamma: float = 0.1
) -> Schedule:
    """Return the factor 1, then ``gamma``, ``gamma`` squared, ... from each milestone on.

    Args:
        epochs: How many there are in all.
        milestones: Ascending. An integer is an epoch (10: after ten epochs), a float a part of the run.
        gamma: The factor of one step.

    Raises:
        IsopruneError: If milestones do not ascend or lie outside the run, or another number is not positive.
    """
    check_epochs(epochs)
    if not 0 < gamma < math.inf:
        raise IsopruneError(
            f"gamma = {gamma}, and a learning rate must stay positive. The usual value is 0.1."
        )
    # An epoch's part of the run is this very quotient in the training loop too, so that they meet exactly.
    boundaries = tuple(m / epochs if isinstance(m, int) else m for m in milestones)
    if any(not 0 < b < 1 for b in boundaries) or any(a >= b for a, b in pairwise(boundaries)):
        raise IsopruneError(
            f"milestones = {list(milestones)} do not ascend within a run of {epochs:g} epochs. "
            f"Give epochs from 1 to {math.ceil(epochs) - 1}, or parts of the run between 0.0 and 1.0."
        )
    return StepDecay(boundaries, gamma)
