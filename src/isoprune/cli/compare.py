"""`isoprune compare`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from isoprune.cli.console import output_console, say, write_out
from isoprune.cli.options import check_out

if TYPE_CHECKING:
    from rich.table import Table

    from isoprune.comparison import Comparison


def compare(
    paths: tuple[str, ...],
    /,
    *,
    require: str = "S3.2",
    by: str | None = None,
    value: str = "test_accuracy",
    without: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    out: Path | None = None,
) -> None:
    """Compare methods fairly: paired by seed, at a setup that both share, corrected for the number of tests.

    Give a store (all its runs), a study of a store (runs/studies/<name>.json), or single record.json files.
    What is not fair is refused: the line says by which key, with both values, and what to do. The setups are
    S1 to S4.2, each asking for more, and SX-A and SX-B for controls from scratch: see docs/comparison.md.

    example:
      isoprune compare runs/studies/repairs.json --without scratch
      isoprune compare runs --by lr --value validation_accuracy --out lr.md

    Args:
        paths: Stores, studies or records; URLs too.
        require: What every pair must share.
        by: repair, criterion, penalty, allocation, distill, schedule, lr, epochs, ratio, or a key of the
            config; several with commas (what differs).
        value: test_accuracy, validation_accuracy, trainability_accuracy, jsv, or a number by its role.
        without: Leave a method out (may be repeated).
        out: Also as a file: .md or .json.
    """
    from isoprune import comparison as library
    from isoprune.comparison.records import read_outlines

    setup = library.read_setup(require)
    check_out(out, (".md", ".json"), "result.md")
    records = read_outlines(*paths)
    try:
        comparison = library.compare(records, by=by, value=value, require=setup, without=without)
    except library.UnfairComparison as error:
        raise library.UnfairComparison(_as_options(str(error))) from None
    output_console().print(_table(comparison), "", sep="\n")
    say(*library.sentences(comparison))
    if out is not None:
        write_out(out, _written(out, comparison), remedy="Give another --out.")
        say(f"\nWritten: {out.resolve()}")


def _as_options(message: str) -> str:
    """Return the remedy as it is written on a command line."""
    from isoprune.comparison import Setup

    message = re.sub(r"require=Setup\.(\w+)", lambda m: f"--require {Setup[m[1]]}", message)
    return message.replace(" (without)", " (--without)").replace(" too.", " too (--by).")


def _table(comparison: Comparison) -> Table:
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
        table.add_row(*map(Text, row))
    return table


def _written(out: Path, comparison: Comparison) -> str:
    from isoprune.comparison import COLUMNS, as_dict, rows, sentences
    from isoprune.reporting.pivots import Table, markdown

    if out.suffix == ".json":
        return json.dumps(as_dict(comparison), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    heading, *said = sentences(comparison)
    table = markdown(Table(COLUMNS, tuple(rows(comparison)), words=2))
    return "\n".join([heading, "", table, *(f"- {sentence}" for sentence in said), ""])
