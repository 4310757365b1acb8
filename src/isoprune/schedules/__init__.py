"""Learning-rate schedules: progress in [0, 1] -> factor on the first learning rate."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from isoprune.errors import IsopruneError, pick
from isoprune.schedules.constant import constant
from isoprune.schedules.halving import halving, halving_milestones
from isoprune.schedules.one_cycle import OneCycle, one_cycle
from isoprune.schedules.step_decay import StepDecay, step_decay
from isoprune.types import Schedule

SCHEDULES: dict[str, Callable[..., Schedule]] = {
    f.__name__: f for f in (constant, step_decay, halving, one_cycle)
}


def build(name: str, *, epochs: int, **options: Any) -> Schedule:
    """Return the schedule called ``name``; ``epochs`` goes to those that count in epochs.

    Raises:
        IsopruneError: Unknown name, unknown option, or one that is missing.
    """
    schedule = pick(SCHEDULES, name, "schedule")
    signature = inspect.signature(schedule)
    if "epochs" in signature.parameters:
        options = {"epochs": epochs, **options}
    try:
        signature.bind(**options)
    except TypeError as error:
        known = ", ".join(p for p in signature.parameters if p != "epochs") or "none"
        raise IsopruneError(f"Schedule {name!r}: {error}. Its options: {known}.") from error
    return schedule(**options)


__all__ = [
    "SCHEDULES",
    "OneCycle",
    "StepDecay",
    "build",
    "constant",
    "halving",
    "halving_milestones",
    "one_cycle",
    "step_decay",
]
