"""Learning-rate schedules: progress in [0, 1] -> factor on the first learning rate."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from isoprune.methods.schedules.clr import clr
from isoprune.methods.schedules.constant import constant
from isoprune.methods.schedules.cosine import Cosine, cosine
from isoprune.methods.schedules.cyclical import Triangles, cyclical
from isoprune.methods.schedules.halving import halving, halving_milestones
from isoprune.methods.schedules.linear import Linear, linear
from isoprune.methods.schedules.lr_rewinding import Replay, lr_rewinding
from isoprune.methods.schedules.one_cycle import OneCycle, one_cycle
from isoprune.methods.schedules.sgdr import WarmRestarts, sgdr
from isoprune.methods.schedules.slr import slr
from isoprune.methods.schedules.step_decay import StepDecay, step_decay
from isoprune.methods.schedules.warm_up import WarmUp, warm_up
from isoprune.types import Schedule
from isoprune.types.errors import IsopruneError, pick

SCHEDULES: dict[str, Callable[..., Schedule]] = {
    f.__name__: f
    for f in (
        constant,
        step_decay,
        halving,
        linear,
        cosine,
        sgdr,
        cyclical,
        one_cycle,
        warm_up,
        lr_rewinding,
        slr,
        clr,
    )
}


def build(name: str, *, epochs: int | float, **options: Any) -> Schedule:
    """Return the schedule called ``name``; ``epochs`` goes to those that count in epochs.

    The option ``schedule`` of those that hold another is that one's name, a table with its ``name`` and
    options, or a schedule.

    Raises:
        IsopruneError: Unknown name, unknown option, or one that is missing.
    """
    schedule = pick(SCHEDULES, name, "schedule")
    inner = options.get("schedule")
    if isinstance(inner, str | Mapping):
        table = {"name": inner} if isinstance(inner, str) else inner
        if not isinstance(table.get("name"), str):
            raise IsopruneError(f"The schedule inside {name!r} has no name. Give schedule = {{'name': ...}}.")
        options["schedule"] = functools.partial(build, **table)
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
    "Cosine",
    "Linear",
    "OneCycle",
    "Replay",
    "StepDecay",
    "Triangles",
    "WarmRestarts",
    "WarmUp",
    "build",
    "halving_milestones",
]
