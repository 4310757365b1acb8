"""Run a study: one experiment times a grid of values, on several processes or on a Ray cluster.

The file's [study] lists values for any keys; every combination is one run. Networks that runs share
are trained once. Started again, a study does only what is not finished.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from isoprune.cli.work import (
    add_executor,
    add_set,
    add_store,
    carry_out,
    command,
    executor_options,
    output_console,
    report_command,
)

SUMMARY = "run a grid of experiments on several processes, or a cluster"
EXAMPLE = """\
  isoprune study studies/lr_effect.toml --jobs 2
  isoprune study studies/lr_effect.toml --executor ray --store s3://bucket/runs
  isoprune study studies/lr_effect.toml --set retrain.epochs=90 --set 'study.seed=[0]'"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE.toml", help="the study")
    add_executor(parser)
    add_set(parser)
    add_store(parser)


def run(args: argparse.Namespace) -> int:
    from isoprune.experiment.grid import read_study

    study = read_study(args.file, args.settings)
    again = command("study", args.file, args.settings, args.store, *executor_options(args))
    how = {"jobs": args.jobs, "executor": args.executor, "address": args.address}
    code, records = carry_out(study, args.store, again=again, **how)
    if records:
        from isoprune.reporting import terminal_table

        console = output_console()
        console.print(terminal_table(records))
        console.print(f"A page with figures: {report_command(args.store, study.name)}")
    return code
