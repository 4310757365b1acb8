"""A schedule inside a schedule."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from isoprune.types import IsopruneError, Schedule

Make = Callable[..., Any]  # a schedule, or a function that makes one, its own options bound


def made(schedule: Any, *, epochs: int | float) -> Schedule:
    """Return what ``schedule`` makes for so many epochs; one that is made already is returned as it is.

    Raises:
        IsopruneError: If it is neither.
    """
    if not callable(schedule):
        raise IsopruneError(
            f"schedule = {schedule!r} is no schedule. Give a function progress -> factor, or what makes one."
        )
    make: Make = schedule
    parameters = inspect.signature(make).parameters
    if "epochs" in parameters:
        # A part of a run need not be whole; what counts in whole epochs refuses it in its own words.
        return make(epochs=int(epochs) if epochs == int(epochs) else epochs)
    waits = any(p.default is p.empty and p.kind is not p.VAR_KEYWORD for p in parameters.values())
    return make if waits else make()
