"""Every schedule's learning rate over the epochs: as curves to draw, and in the terminal."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from isoprune.methods.schedules import SCHEDULES, build
from isoprune.methods.schedules.examples import LEAST, examples
from isoprune.reporting.schedule_figures import Curve
from isoprune.types.errors import IsopruneError

if TYPE_CHECKING:
    from rich.console import Console

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


BLOCKS = " ▁▂▃▄▅▆▇█"
LINES = 2  # of the terminal, for each schedule
DECADES = 4  # that they span


def sketch(console: Console, curves: Sequence[Curve], epochs: int) -> None:
    """Print two lines of blocks per schedule, its factor on a logarithmic scale."""
    from rich.text import Text

    width = max(20, min(72, console.width - 22))
    console.print(
        Text(f"factor on the learning rate over {epochs} epochs, from 1e-{DECADES} to 1", style="dim")
    )
    for curve in curves:
        levels = heights([factor for _, factor in curve.points], width)
        for line in reversed(range(LINES)):
            blocks = "".join(BLOCKS[min(8, max(0, level - 8 * line))] for level in levels)
            name = curve.name if line == LINES - 1 else ""
            console.print(Text.assemble((f"{name:<14}", "bold"), (blocks, "blue")), no_wrap=True)
        console.print(Text(f"{'':<14}{curve.options}", style="dim"))


def heights(factors: list[float], width: int) -> list[int]:
    """Return how many eighths of a line each of ``width`` columns is high: one at least, to be seen."""
    columns = [factors[i * (len(factors) - 1) // width] for i in range(width)]
    most = 8 * LINES
    logs = [math.log10(max(factor, 10.0**-DECADES)) for factor in columns]
    return [1 + round((most - 1) * (1 + log / DECADES)) for log in logs]
