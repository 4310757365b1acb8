"""Run one experiment: train the dense network, prune, repair, retrain, and measure each stage.

Whatever is in the store already is taken from there; what was interrupted goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from isoprune.cli.work import add_set, add_store, carry_out, command, output_console, stage_table

SUMMARY = "run one experiment from a TOML file"
EXAMPLE = """\
  isoprune run experiment.toml
  isoprune run experiment.toml --set retrain.lr=0.1 --set repair=orthp"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE.toml", help="the experiment")
    add_set(parser)
    add_store(parser)


def run(args: argparse.Namespace) -> int:
    from isoprune.experiment.grid import Study, read_experiment

    study = Study(args.file.stem, (read_experiment(args.file, args.settings),))
    again = command("run", args.file, args.settings, args.store)
    code, records = carry_out(study, args.store, jobs=1, again=again, listing=False)
    for record in records:
        console = output_console()
        console.print(stage_table(record))
        console.print(f"Record: {str(args.store).rstrip('/')}/runs/{record['digest']}/record.json")
    return code
