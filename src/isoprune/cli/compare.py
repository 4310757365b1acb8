"""`isoprune compare`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from isoprune.cli.console import output_console, say
from isoprune.cli.options import check_out
from isoprune.types.files import write_output


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
    from isoprune.types.tables import Table, markdown, prose, terminal

    setup = library.read_setup(require)
    check_out(out, (".md", ".json"), "result.md")
    records = read_outlines(*paths)
    try:
        comparison = library.compare(records, by=by, value=value, require=setup, without=without)
    except library.UnfairComparison as error:
        raise library.UnfairComparison(_as_options(str(error))) from None
    table = Table(library.COLUMNS, tuple(library.rows(comparison)), words=2)
    output_console().print(terminal(table, ruled=True), "", sep="\n")
    say(*library.sentences(comparison))
    if out is None:
        return
    heading, *said = library.sentences(comparison)
    content = "\n".join(
        [prose(heading), "", markdown(table), *(f"- {prose(sentence)}" for sentence in said), ""]
    )
    if out.suffix == ".json":
        plain = library.as_dict(comparison)
        content = json.dumps(plain, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    write_output(content, out)
    say(f"\nWritten: {out.resolve()}")


def _as_options(message: str) -> str:
    """Return the remedy as it is written on a command line."""
    from isoprune.comparison import Setup

    message = re.sub(r"require=Setup\.(\w+)", lambda m: f"--require {Setup[m[1]]}", message)
    return message.replace(" (without)", " (--without)").replace(" too.", " too (--by).")
