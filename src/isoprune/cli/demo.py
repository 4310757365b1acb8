"""Tell the whole story on a small data set: what pruning breaks, what the learning rate hides,
and what repairs it.

A perceptron learns scikit-learn's digits, loses four fifths of its filters, and is retrained with a
large and a small learning rate: as it is, repaired by OrthP, and from scratch. It ends with a table,
what the table says in words, and a web page. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import os
from importlib.resources import as_file, files
from pathlib import Path

from isoprune.cli.work import carry_out, command, error_console, output_console

SUMMARY = "the whole story on a small data set, in a minute"
EXAMPLE = """\
  isoprune demo
  isoprune demo --out my_demo --jobs 1"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo"),
        metavar="DIR",
        help="for the page and the runs (default: %(default)s)",
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="processes at once (default: 2, or 1 on one core)"
    )


def run(args: argparse.Namespace) -> int:
    from isoprune.experiment.executor import check_jobs, cores
    from isoprune.experiment.grid import read_study

    jobs = check_jobs(args.jobs if args.jobs is not None else min(2, cores()))
    with as_file(files("isoprune.cli") / "demo.toml") as file:
        study = read_study(file)
    error_console().print(
        f"Demo: {len(study.experiments)} runs on handwritten digits. A trained perceptron is pruned to a "
        "fifth of its filters,\nthen retrained with a large and a small learning rate: as it is, repaired, "
        "and from scratch."
    )
    again = command(
        "demo", "", (), Path("runs"), *(() if args.out == Path("demo") else ("--out", str(args.out)))
    )
    code, records = carry_out(study, args.out / "runs", jobs=jobs, again=again)
    if not records:
        return code
    from isoprune.reporting import explain, report, terminal_table

    console = output_console()
    console.print(terminal_table(records))
    console.print()
    for sentence in explain(records)[:3]:
        console.print(f"• {sentence}", markup=False)
    page = report(records, args.out / "index.html", title="isoprune demo")
    console.print(f"\nPage: {os.path.relpath(page)}", markup=False, soft_wrap=True)
    return code
