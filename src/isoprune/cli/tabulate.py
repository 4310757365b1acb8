"""`isoprune report --rows ...`: one table of any records, for a paper or a spreadsheet."""

from __future__ import annotations

import argparse
from typing import Any

from isoprune.cli.work import output_console, write_out
from isoprune.types.errors import IsopruneError, did_you_mean

_OPTIONS = ("rows", "columns", "value", "where", "spread", "format")
_SUFFIXES = {".md": "markdown", ".tex": "latex", ".csv": "csv"}


def arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--rows",
        metavar="WORDS",
        help="model, data, ratio, criterion, penalty, allocation, repair, lr, schedule, epochs, distill, "
        "seed, or keys of the config; several with commas",
    )
    group.add_argument("--columns", metavar="WORDS", help="the same, across")
    group.add_argument(
        "--value",
        metavar="VALUE",
        help="test_accuracy, validation_accuracy, trainability_accuracy, jsv (after retraining), or a "
        "number by its role, as repaired.test_accuracy (default: test_accuracy)",
    )
    group.add_argument(
        "--where",
        action="append",
        metavar="WORD=VALUE",
        help="only these runs: ratio=0.5,0.9 (may be repeated)",
    )
    group.add_argument("--spread", metavar="WHAT", help="std, interval (95 %%) or none (default: std)")
    group.add_argument(
        "--format",
        metavar="FORMAT",
        help="markdown, latex or csv (default: by the suffix of --out, or markdown)",
    )


def asked(args: argparse.Namespace) -> bool:
    """Whether a table is asked for; a page has none of its options.

    Raises:
        IsopruneError: If options of a table are given without its rows.
    """
    given = [option for option in _OPTIONS if getattr(args, option) is not None]
    if given and args.rows is None:
        raise IsopruneError(f"--{given[0]} is for a table. Give its rows too, as --rows ratio.")
    if args.rows is not None and (args.figures or args.title):
        raise IsopruneError("--figures and --title are for a page, --rows for a table. Take one of the two.")
    return args.rows is not None


def run(args: argparse.Namespace) -> int:
    """Write the table, or print it."""
    from isoprune.comparison.records import read_outlines
    from isoprune.reporting.pivots import FORMATS, pivot
    from isoprune.types.collector import uncollected

    form = FORMATS[_format(args, FORMATS)]
    value = args.value or "test_accuracy"

    def made() -> str:
        found = pivot(
            read_outlines(*args.paths),
            rows=args.rows,
            columns=args.columns or (),
            value=value,
            where=_where(args.where or []),
            spread=args.spread or "std",
        )
        return form(found)

    with uncollected():
        text = made()
    if args.out is None:
        output_console().out(text, end="", highlight=False)
        return 0
    write_out(args.out, text)
    output_console().print(f"Table: {args.out.resolve()}", markup=False, soft_wrap=True)
    return 0


def _format(args: argparse.Namespace, formats: Any) -> str:
    word = args.format
    if word is None:
        if args.out is not None and args.out.suffix not in _SUFFIXES:
            raise IsopruneError(
                f"--out {args.out}: a table is a file .md, .tex or .csv. Give one of them, or --format."
            )
        word = "markdown" if args.out is None else _SUFFIXES[args.out.suffix]
    if word not in formats:
        raise IsopruneError(f"Unknown format {word!r}.{did_you_mean(word, formats)}")
    return word


def _where(given: list[str]) -> dict[str, str]:
    found = {}
    for condition in given:
        word, equals, value = condition.partition("=")
        if not (word.strip() and equals and value.strip()):
            raise IsopruneError(
                f"--where {condition!r} is no condition. Write --where WORD=VALUE, as ratio=0.9."
            )
        found[word.strip()] = value.strip()
    return found
