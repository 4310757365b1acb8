"""`isoprune methods`."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Literal

from isoprune.cli.console import output_console, say
from isoprune.types.errors import IsopruneError

KINDS = ("data", "model", "criterion", "penalty", "repair", "schedule", "cadence", "check")


def methods(
    kind: Literal["data", "model", "criterion", "penalty", "repair", "schedule", "cadence", "check"]
    | None = None,
    /,
    *,
    schedules: bool = False,
    epochs: int | None = None,
    out: Path | None = None,
) -> None:
    """List every data set, model, criterion, penalty, repair, schedule, cadence and check by its name.

    Your own needs no registration: write "your_module:your_function" in its place. With --schedules: draw the
    learning rate of every schedule.

    example:
      isoprune methods
      isoprune methods repair
      isoprune methods --schedules --epochs 60 --out schedules.html

    Args:
        kind: Only this kind.
        schedules: Draw every learning-rate schedule.
        epochs: Over so many epochs of retraining (90).
        out: .html, .svg, .png or .pdf (in the terminal).
    """
    if schedules:
        if kind:
            raise IsopruneError(f"--schedules draws schedules alone. Leave out {kind!r}.")
        return _draw(90 if epochs is None else epochs, out)
    for option, given in (("--epochs", epochs), ("--out", out)):
        if given is not None:
            raise IsopruneError(f"{option} is for the picture of the schedules. Add --schedules.")
    for each in (kind,) if kind else KINDS:
        _list(each)
    return None


def _list(kind: str) -> None:
    from rich.text import Text

    from isoprune.experiment.catalogue import REQUIRED, catalogue
    from isoprune.experiment.signatures import KINDS as SPECS

    console = output_console()
    console.print(Text(f"{SPECS[kind].word} ({kind})", style="bold"))
    for entry in catalogue(kind).values():
        options = ", ".join(
            name if default is REQUIRED else f"{name} = {default!r}"
            for name, default in entry.options.items()
        )
        line = f"{entry.name}  ({options})" if options else entry.name
        shown = textwrap.wrap(line, console.width, initial_indent="  ", subsequent_indent=" " * 8)
        console.print(Text("\n".join([*shown, f"      {entry.summary}"])))


def _draw(epochs: int, out: Path | None) -> None:
    from isoprune.cli.schedule_curves import schedule_curves
    from isoprune.cli.schedule_sketch import sketch
    from isoprune.reporting.schedule_page import draw_schedules

    curves = schedule_curves(epochs)
    if out is None:
        sketch(output_console(), curves, epochs)
    else:
        say(f"Figure: {draw_schedules(curves, out)}")
