"""List every data set, model, criterion, penalty, repair and schedule that a config can name.

Your own needs no registration: write "your_module:your_function" in its place. With --schedules: draw the
learning rate of every schedule.
"""

from __future__ import annotations

import argparse
import inspect
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from isoprune.cli.work import output_console
from isoprune.types.errors import IsopruneError

SUMMARY = "list what a config can name"
EXAMPLE = """\
  isoprune methods
  isoprune methods repair
  isoprune methods --schedules --epochs 60 --out schedules.html"""

KINDS = ("data", "model", "criterion", "penalty", "repair", "schedule")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", nargs="?", choices=KINDS, help="only this kind")
    parser.add_argument("--schedules", action="store_true", help="draw every learning-rate schedule")
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="over so many epochs of retraining (default: 90)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help=".html, .svg, .png or .pdf (default: in the terminal)"
    )


def run(args: argparse.Namespace) -> int:
    from rich.text import Text

    from isoprune.experiment.signatures import KINDS as SPECS
    from isoprune.experiment.signatures import table

    console = output_console()
    if args.schedules:
        from isoprune.cli.schedules_drawn import draw

        if args.kind:
            raise IsopruneError(f"--schedules draws schedules alone. Leave out {args.kind!r}.")
        draw(console, epochs=90 if args.epochs is None else args.epochs, out=args.out)
        return 0
    for option, given in (("--epochs", args.epochs), ("--out", args.out)):
        if given is not None:
            raise IsopruneError(f"{option} is for the picture of the schedules. Add --schedules.")
    for kind in (args.kind,) if args.kind else KINDS:
        console.print(Text(f"{SPECS[kind].word} ({kind})", style="bold"))
        for name, function in table(kind).items():
            options = _options(function, SPECS[kind].supplied)
            line = f"{name}  ({options})" if options else name
            shown = textwrap.wrap(line, console.width, initial_indent="  ", subsequent_indent=" " * 8)
            console.print(Text("\n".join(shown)))
            console.print(Text(f"      {_first_line(function)}"))
    return 0


def _first_line(function: Callable[..., Any]) -> str:
    line = (inspect.getdoc(function) or "").partition("\n")[0]
    return re.sub(r":\w+:`([^`]*)`|`+([^`]*)`+", lambda found: found[1] or found[2], line)


def _options(function: Callable[..., Any], supplied: frozenset[str]) -> str:
    own = {n: p for n, p in inspect.signature(function).parameters.items() if n not in supplied}
    empty = inspect.Parameter.empty
    return ", ".join(n if p.default is empty else f"{n} = {p.default!r}" for n, p in own.items())
