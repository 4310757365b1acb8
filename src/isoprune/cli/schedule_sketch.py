"""Every schedule's curve in the terminal: two lines of blocks each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from isoprune.reporting.schedule_figures import Curve

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
        console.print(Text(f"{'':<14}{curve.told}", style="dim"))


def heights(factors: list[float], width: int) -> list[int]:
    """Return how many eighths of a line each of ``width`` columns is high: one at least, to be seen."""
    columns = [factors[i * (len(factors) - 1) // width] for i in range(width)]
    most = 8 * LINES
    logs = [math.log10(max(factor, 10.0**-DECADES)) for factor in columns]
    return [1 + round((most - 1) * (1 + log / DECADES)) for log in logs]
