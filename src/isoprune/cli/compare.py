"""Compare methods fairly: paired by seed, at a setup that both share, corrected for the number of tests.

Give a store (all its runs), a study of a store (runs/studies/<name>.json), or single record.json files.
What is not fair is refused: the line says by which key, with both values, and what to do. The setups are
S1 to S4.2, each asking for more, and SX-A and SX-B for controls from scratch: see docs/comparison.md.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoprune.cli.work import output_console, write_out

if TYPE_CHECKING:
    from isoprune.comparison import Comparison

SUMMARY = "compare methods fairly, over seeds, or say why that cannot be done"
EXAMPLE = """\
  isoprune compare runs/studies/repairs.json --without scratch
  isoprune compare runs --by lr --value validation_accuracy --out lr.md"""

SUFFIXES = (".md", ".json")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="PATH", help="stores, studies or records; URLs too")
    parser.add_argument(
        "--require", default="S3.2", metavar="SETUP", help="what every pair must share (default: %(default)s)"
    )
    parser.add_argument(
        "--by",
        metavar="WHAT",
        help="repair, criterion, penalty, allocation, distill, schedule, lr, epochs, ratio, or a key of the "
        "config; several with commas (default: what differs)",
    )
    parser.add_argument(
        "--value",
        default="test_accuracy",
        metavar="VALUE",
        help="test_accuracy, validation_accuracy, trainability_accuracy, jsv, or a number by its role "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="METHOD",
        help="leave a method out (may be repeated)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="also as a file: .md or .json")


def run(args: argparse.Namespace) -> int:
    from isoprune.comparison import UnfairComparison, compare, read_setup, sentences
    from isoprune.comparison.records import read_outlines
    from isoprune.types.errors import IsopruneError

    require = read_setup(args.require)
    if args.out is not None and args.out.suffix not in SUFFIXES:
        raise IsopruneError(f"--out {args.out} is neither .md nor .json. Give one of them, as result.md.")
    records = read_outlines(*args.paths)
    try:
        comparison = compare(records, by=args.by, value=args.value, require=require, without=args.without)
    except UnfairComparison as error:
        raise UnfairComparison(_as_options(str(error))) from None
    console = output_console()
    console.print(_terminal_table(comparison))
    console.print()
    for sentence in sentences(comparison):
        console.print(sentence, markup=False)
    if args.out is not None:
        _write(args.out, comparison)
        console.print(f"\nWritten: {args.out.resolve()}", markup=False, soft_wrap=True)
    return 0


def _as_options(message: str) -> str:
    """Return the remedy as it is written on a command line."""
    message = re.sub(r"require=Setup\.(\w+)", lambda m: f"--require {_written(m[1])}", message)
    return message.replace(" (without)", " (--without)").replace(" too.", " too (--by).")


def _written(name: str) -> str:
    from isoprune.comparison import Setup

    return str(Setup[name])


def _terminal_table(comparison: Comparison) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from isoprune.comparison import COLUMNS, rows

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for i, column in enumerate(COLUMNS):
        numeric = i > 1
        table.add_column(column, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for row in rows(comparison):
        # Text, not str: a name such as "[red]" is not markup.
        table.add_row(*(Text(word) for word in row))
    return table


def _write(out: Path, comparison: Comparison) -> None:
    from isoprune.comparison import COLUMNS, as_dict, rows, sentences
    from isoprune.reporting.pivots import Table, markdown

    if out.suffix == ".json":
        text = json.dumps(as_dict(comparison), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    else:
        heading, *said = sentences(comparison)
        table = markdown(Table(COLUMNS, tuple(rows(comparison)), words=2))
        text = "\n".join([heading, "", table, *(f"- {sentence}" for sentence in said), ""])
    write_out(out, text, remedy="Give another --out.")
