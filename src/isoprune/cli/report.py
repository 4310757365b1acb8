"""Make one self-contained web page of records (figures, tables, what they mean, every config), or one table.

Give a store (all its runs), a study of a store (runs/studies/<name>.json), or single record.json files.
The page works offline; the same figures can be had as files. With --rows: no page but a table, for a paper.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection
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
        return tabulate.run(args, read_records)
    formats = _formats(args.figures)
    records = [record for path in args.paths for record in read_records(path)]
    records = list({r["digest"]: r for r in records}.values())
    return write(records, args.out or PAGE, formats=formats, title=args.title)


def _formats(text: str) -> tuple[str, ...]:
    from isoprune.types.errors import IsopruneError, did_you_mean

    formats = tuple(word.strip() for word in text.split(",") if word.strip())
    for word in formats:
        if word not in FORMATS:
            raise IsopruneError(
                f"Unknown figure format {word!r}.{did_you_mean(word, FORMATS)} Write --figures pdf,svg,png."
            )
    return formats


def read_records(where: str, parts: Collection[str] | None = None) -> list[dict[str, Any]]:
    """Return the records of a store, of a study of a store (those that are finished), or of a file.

    With ``parts``, of each record only these.
    """
    from isoprune.comparison.records import load_records
    from isoprune.types.errors import IsopruneError
    from isoprune.types.files import read_json

    path = _local(where)
    if path.suffix == ".toml":
        raise IsopruneError(
            f"{path} is a config, not results. Run it first (isoprune study {path}), then give the store."
        )
    if path.is_dir() or path.name == "record.json" or not path.exists():
        return load_records([path], parts=parts)
    listing = read_json(path, remedy="Delete it and start its study again; finished runs are kept.")
    if not isinstance(listing.get("runs"), list):
        return load_records([path], parts=parts)
    runs = path.resolve().parents[1] / "runs"  # ROOT/studies/<name>.json
    files = [runs / digest / "record.json" for digest in listing["runs"]]
    finished = [file for file in files if file.exists()]
    if not finished:
        raise IsopruneError(f"No run of {path} is finished. Start it: isoprune study {listing['name']}.toml.")
    # A run that two studies share bears the name of the one that ran it first.
    return [{**record, "name": listing["name"]} for record in load_records(finished, parts=parts)]


def _local(where: str) -> Path:
    if "://" not in where:
        return Path(where)
    from isoprune.experiment.mirror import local  # fsspec, which a path does not need

    return local(where)


def write(
    records: list[dict[str, Any]], out: Path, *, formats: tuple[str, ...] = (), title: str | None = None
) -> int:
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
