"""`isoprune methods`."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from isoprune.cli.console import output_console, say
from isoprune.types.errors import IsopruneError, did_you_mean
from isoprune.types.files import write_output

if TYPE_CHECKING:
    from isoprune.experiment.catalogue import MethodEntry


def methods(
    name: str | None = None,
    /,
    *,
    schedules: bool = False,
    epochs: int | None = None,
    out: Path | None = None,
) -> None:
    """List every data set, model, criterion, penalty, repair, schedule, cadence, check, measure and more.

    With a name: that method's formula, options, needs, cost and paper. Your own needs no registration: write
    "your_module:your_function" in its place. With --schedules: draw the learning rate of every schedule.

    example:
      isoprune methods
      isoprune methods repair
      isoprune methods synflow
      isoprune methods --out methods.md
      isoprune methods --schedules --epochs 60 --out schedules.html

    Args:
        name: Only this kind (data, model, criterion, penalty, repair, schedule, cadence, check, measure,
            allocation, structure, codec), or all that is known of one method.
        schedules: Draw every learning-rate schedule.
        epochs: Over so many epochs of retraining (90).
        out: All methods as a table: .md. With --schedules: .html, .svg, .png or .pdf (in the terminal).
    """
    from isoprune.experiment.signatures import SHOWN

    if schedules:
        if name:
            raise IsopruneError(f"--schedules draws schedules alone. Leave out {name!r}.")
        return _draw(90 if epochs is None else epochs, out)
    if epochs is not None:
        raise IsopruneError("--epochs is for the picture of the schedules. Add --schedules.")
    if out is not None:
        return _write(name, out)
    if name and name not in SHOWN:
        return _describe(name)
    for each in (name,) if name else SHOWN:
        _list(each)
    return None


def _list(kind: str) -> None:
    from rich.text import Text

    from isoprune.experiment.catalogue import OTHERS, catalogue, facts
    from isoprune.experiment.signatures import SHOWN

    console = output_console()
    console.print(Text(f"{SHOWN[kind].word} ({kind})", style="bold"))
    for entry in catalogue(kind).values():
        lines = [*_wrapped(_call(entry), 2, 8), *_wrapped(entry.summary, 6)]
        if kind not in OTHERS:
            known = facts(entry)
            where = f"{known['grains']} grains" if known["grains"] == "all" else known["grains"]
            needs = f"needs {known['needs']}" if known["needs"] else ""
            memory = f"holds {known['memory']}" if known["memory"] else ""
            said = " · ".join(filter(None, [where, needs, known["cost"], memory, known["paper"]]))
            lines += _wrapped(said, 6) if said else []
        console.print(Text("\n".join(lines)))


def _describe(name: str) -> None:
    """Print all that is known of the methods of a name: formula, options, needs, cost, paper."""
    from rich.text import Text

    from isoprune.experiment.catalogue import OTHERS, catalogue, facts, without_roles
    from isoprune.experiment.signatures import SHOWN

    found = {kind: catalogue(kind)[name] for kind in SHOWN if name in catalogue(kind)}
    if not found:
        known = [*SHOWN, *(entry for kind in SHOWN for entry in catalogue(kind))]
        raise IsopruneError(f"There is no kind or method {name!r}.{did_you_mean(name, known)}")
    console = output_console()
    for kind, entry in found.items():
        console.print(Text(f"{entry.name} ({SHOWN[kind].word})", style="bold"))
        console.print(Text("\n".join(_wrapped(_call(entry), 2, 8))))
        console.print(Text("\n" + textwrap.indent(without_roles(entry.doc), "  ") + "\n"))
        for word, said in facts(entry).items() if kind not in OTHERS else ():
            if said:
                console.print(Text("\n".join(_wrapped(f"{word + ':':<9}{said}", 2, 11))))


def _call(entry: MethodEntry) -> str:
    from isoprune.experiment.catalogue import REQUIRED

    options = ", ".join(
        name if default is REQUIRED else f"{name} = {default!r}" for name, default in entry.options.items()
    )
    return f"{entry.name}  ({options})" if options else entry.name


def _wrapped(text: str, first: int, later: int | None = None) -> list[str]:
    width, rest = output_console().width, first if later is None else later
    return textwrap.wrap(text, width, initial_indent=" " * first, subsequent_indent=" " * rest)


def _write(name: str | None, out: Path) -> None:
    from isoprune.experiment.catalogue import method_table

    if name is not None or out.suffix != ".md":
        raise IsopruneError(
            f"--out is for the table of all methods (.md, and no name), not {out.name!r}"
            + (f" of {name!r}" if name else "")
            + ", or for the picture of the schedules: add --schedules."
        )
    write_output(method_table(), out, what="table")
    say(f"Table: {out}")


def _draw(epochs: int, out: Path | None) -> None:
    from isoprune.cli.schedule_curves import schedule_curves, sketch
    from isoprune.reporting.schedule_figures import draw_schedules

    curves = schedule_curves(epochs)
    if out is None:
        sketch(output_console(), curves, epochs)
    else:
        say(f"Figure: {draw_schedules(curves, out)}")
