"""List every data set, model, criterion, repair and schedule that a config can name, with its options.

Your own needs no registration: write "your_module:your_function" in its place.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable
from typing import Any

from isoprune.cli.work import output_console

SUMMARY = "list what a config can name"
EXAMPLE = """\
  isoprune methods
  isoprune methods repair"""

KINDS = ("data", "model", "criterion", "repair", "schedule")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", nargs="?", choices=KINDS, help="only this kind")


def run(args: argparse.Namespace) -> int:
    from rich.text import Text

    from isoprune.experiment.choice import KINDS as SPECS
    from isoprune.experiment.choice import table

    console = output_console()
    for kind in (args.kind,) if args.kind else KINDS:
        console.print(Text(f"{SPECS[kind].word} ({kind})", style="bold"))
        for name, function in table(kind).items():
            options = _options(function, SPECS[kind].supplied)
            console.print(Text(f"  {name}{f'  ({options})' if options else ''}"))
            console.print(Text(f"      {_first_line(function)}"))
    return 0


def _first_line(function: Callable[..., Any]) -> str:
    line = (inspect.getdoc(function) or "").partition("\n")[0]
    return re.sub(r":\w+:`([^`]*)`|`+([^`]*)`+", lambda found: found[1] or found[2], line)


def _options(function: Callable[..., Any], supplied: frozenset[str]) -> str:
    own = {n: p for n, p in inspect.signature(function).parameters.items() if n not in supplied}
    empty = inspect.Parameter.empty
    return ", ".join(n if p.default is empty else f"{n} = {p.default!r}" for n, p in own.items())
