"""Learning-rate schedules: progress in [0, 1] -> factor on the first learning rate."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any

from isoprune.methods.schedules.clr import clr
from isoprune.methods.schedules.constant import constant
from isoprune.methods.schedules.cosine import Cosine as Cosine
from isoprune.methods.schedules.cosine import cosine
from isoprune.methods.schedules.cyclical import Triangles as Triangles
from isoprune.methods.schedules.cyclical import cyclical
from isoprune.methods.schedules.halving import halving
from isoprune.methods.schedules.halving import halving_milestones as halving_milestones
from isoprune.methods.schedules.linear import Linear as Linear
from isoprune.methods.schedules.linear import linear
from isoprune.methods.schedules.lr_rewinding import Replay as Replay
from isoprune.methods.schedules.lr_rewinding import lr_rewinding
from isoprune.methods.schedules.one_cycle import OneCycle as OneCycle
from isoprune.methods.schedules.one_cycle import one_cycle
from isoprune.methods.schedules.sgdr import WarmRestarts as WarmRestarts
from isoprune.methods.schedules.sgdr import sgdr
from isoprune.methods.schedules.slr import slr
from isoprune.methods.schedules.step_decay import StepDecay as StepDecay
from isoprune.methods.schedules.step_decay import step_decay
from isoprune.methods.schedules.warm_up import WarmUp as WarmUp
from isoprune.methods.schedules.warm_up import warm_up
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


def schedule_of(given: str | Schedule, epochs: int) -> Schedule:
    """Return ``given``, or the schedule of that name with its default options for ``epochs``.

    Raises:
        IsopruneError: If it is neither.
    """
    if isinstance(given, str):
        return build(given, epochs=max(epochs, 1) if isinstance(epochs, Integral) else 1)
    if not callable(given):
        raise IsopruneError(
            f"schedule is {given!r}. Give a name, such as 'one_cycle', or a function of the progress in "
            "[0, 1) that returns a factor on lr."
        )
    return given
