"""Every schedule's learning rate over the epochs, as curves to draw."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from isoprune.methods.schedules import SCHEDULES, build
from isoprune.methods.schedules.examples import LEAST, examples
from isoprune.reporting.schedule_figures import Curve
from isoprune.types.errors import IsopruneError

POINTS = 360  # of a curve, at least


def schedule_curves(epochs: int) -> list[Curve]:
    """Return the curve of every schedule in the table, with the options of its example."""
    if epochs < LEAST:
        raise IsopruneError(f"--epochs {epochs}: to show every schedule takes {LEAST}. Raise it.")
    shown = examples(epochs)
    made = []
    # Whole points in every epoch, so that a drop at its start is drawn there.
    total = epochs * math.ceil(POINTS / epochs)
    for name in SCHEDULES:
        schedule = build(name, epochs=epochs, **shown[name])
        points = [(epochs * i / total, schedule(i / total)) for i in range(total + 1)]
        made.append(Curve(name, _in_words(shown[name] or _defaults(SCHEDULES[name])), points))
    return made


def _defaults(make: Callable[..., Any]) -> dict[str, Any]:
    known = {name: p.default for name, p in inspect.signature(make).parameters.items()}
    return {name: value for name, value in known.items() if value is not inspect.Parameter.empty}


def _in_words(options: dict[str, Any]) -> str:
    return ", ".join(f"{key} {_word(value)}" for key, value in options.items()) or "no options"


def _word(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_word(v) for v in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)
