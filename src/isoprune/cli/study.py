"""Run a study: one experiment times a grid of values, on several processes.

The file's [study] lists values for any keys; every combination is one run. Networks that runs share
are trained once. Started again, a study does only what is not finished.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from isoprune.cli.work import add_set, add_store, carry_out, command, output_console

SUMMARY = "run a grid of experiments on several processes"
EXAMPLE = """\
  isoprune study studies/lr_effect.toml --jobs 2
  isoprune study studies/lr_effect.toml --set retrain.epochs=90 --set 'study.seed=[0]'"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE.toml", help="the study")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="processes at once, one thread each (default: 1)"
    )
    add_set(parser)
    add_store(parser)


def run(args: argparse.Namespace) -> int:
    from isoprune.experiment.grid import read_study

    study = read_study(args.file, args.settings)
    jobs = () if args.jobs == 1 else ("--jobs", str(args.jobs))
    again = command("study", args.file, args.settings, args.store, *jobs)
    code, records = carry_out(study, args.store, jobs=args.jobs, again=again)
    if records:
        from isoprune.reporting import terminal_table

        console = output_console()
        console.print(terminal_table(records))
        listing = args.store / "studies" / f"{study.name}.json"
        console.print(f"A page with figures: isoprune report {listing} --out {study.name}.html")
    return code
