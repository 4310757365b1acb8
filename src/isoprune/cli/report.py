"""Make one self-contained web page of records (figures, tables, what they mean, every config), or one table.

Give a store (all its runs), a study of a store (runs/studies/<name>.json), or single record.json files.
The page works offline; the same figures can be had as files. With --rows: no page but a table, for a paper.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from isoprune.cli import tabulate
from isoprune.cli.work import error_console, output_console

SUMMARY = "make a web page, a table and figures of finished runs"
EXAMPLE = """\
  isoprune report runs --out page.html
  isoprune report runs/studies/lr_effect.json --out lr_effect.html --figures pdf,svg,png
  isoprune report runs --rows ratio --columns repair,lr --value test_accuracy --out table.tex"""

PAGE = Path("report.html")
FORMATS = ("pdf", "svg", "png")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="PATH", help="stores, studies or records; URLs too")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the page (default: report.html), or the table as .md, .tex or .csv (default: on the terminal)",
    )
    parser.add_argument("--figures", default="", metavar="FORMATS", help="also as files: pdf,svg,png")
    parser.add_argument("--title", help="of the page (default: the study's name)")
    tabulate.arguments(parser.add_argument_group("a table instead of the page"))


def run(args: argparse.Namespace) -> int:
    if tabulate.asked(args):
        return tabulate.run(args)
    from isoprune.comparison.records import read_records

    formats = _formats(args.figures)
    return write(read_records(*args.paths), args.out or PAGE, formats=formats, title=args.title)


def _formats(text: str) -> tuple[str, ...]:
    from isoprune.types.errors import IsopruneError, did_you_mean

    formats = tuple(word.strip() for word in text.split(",") if word.strip())
    for word in formats:
        if word not in FORMATS:
            raise IsopruneError(
                f"Unknown figure format {word!r}.{did_you_mean(word, FORMATS)} Write --figures pdf,svg,png."
            )
    return formats


def write(records: list[Any], out: Path, *, formats: tuple[str, ...] = (), title: str | None = None) -> int:
    """Write the page and the figures beside it, and say where they are."""
    from isoprune.reporting import export_figures, report

    console = output_console()
    with error_console().status("Drawing"):
        page = report(records, out, title=title)
        drawn = export_figures(records, page.parent, formats=formats) if formats else []
    console.print(f"Page: {page.resolve()}", markup=False, soft_wrap=True)
    for file in drawn:
        console.print(f"Figure: {file}", markup=False, soft_wrap=True)
    return 0
