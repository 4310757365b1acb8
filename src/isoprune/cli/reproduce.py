"""Redo a table or figure of the papers: a study, and a page with the published numbers and a verdict a claim.

`paper` is the published recipe, for GPUs and days; `laptop` the same study on real data, in minutes on two
cores; `smoke` shows in seconds that it runs. Started again, it does only what is not finished.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from isoprune.cli.work import (
    add_executor,
    add_set,
    add_store,
    carry_out,
    command,
    error_console,
    executor_options,
    output_console,
)

if TYPE_CHECKING:
    from isoprune.experiment.grid import Study
    from isoprune.reproduction import Reproduction

SUMMARY = "redo a table or figure of the papers, beside the published numbers"
NAMES = "jsv-vs-ratio, lr-effect, longer-small-lr, repair-table, lr-schedules, value-of-pruning, imagenet"
EXAMPLE = """\
  isoprune reproduce lr-effect --scale laptop --jobs 2
  isoprune reproduce value-of-pruning --scale paper --check"""
DAYS = 1.0  # longer than this, the published recipe is started only when told so


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help=f"one of: {NAMES}")
    parser.add_argument("--scale", default="laptop", help="smoke, laptop or paper (default: %(default)s)")
    add_executor(parser)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("reproductions"),
        metavar="DIR",
        help="for the page, as NAME.html and NAME.md (default: %(default)s)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="build, prune and verify every network of the study, and train nothing",
    )
    parser.add_argument(
        "--anyway", action="store_true", help="start the published recipe however long it takes here"
    )
    add_set(parser)
    add_store(parser)


def run(args: argparse.Namespace) -> int:
    from isoprune.reproduction import find, reproduction_page, study_of

    reproduction = find(args.name)
    study = study_of(reproduction, args.scale, args.settings)
    if args.check:
        return _check(reproduction, study)
    if args.scale == "paper" and not args.anyway:
        _refuse_long(reproduction, study)
    _find_data(study)
    more = ["--scale", args.scale, *executor_options(args)]
    more += [] if args.out == Path("reproductions") else ["--out", str(args.out)]
    again = command("reproduce", args.name, args.settings, args.store, *more)
    how = {"jobs": args.jobs, "executor": args.executor, "address": args.address}
    code, records = carry_out(study, args.store, again=again, **how)
    if not records:
        return code
    page, verdicts = reproduction_page(
        reproduction,
        args.scale,
        records,
        study=study.experiments,
        paper=study_of(reproduction, "paper").experiments,
        command=again,
        folder=args.out,
    )
    console = output_console()
    for claim, verdict in verdicts:
        console.print(f"{claim.text}\n  [bold]{verdict.word}[/]: {verdict.because}")
    console.print(f"\nPage: {os.path.relpath(page)}", markup=False, soft_wrap=True)
    return code


def _check(reproduction: Reproduction, study: Study) -> int:
    from rich.table import Table

    from isoprune.reproduction import rehearse, unique_networks
    from isoprune.reproduction.tables import networks

    experiments = unique_networks(study.experiments)
    console = error_console()
    console.print(f"{len(study.experiments)} experiments, {len(experiments)} networks.")
    found = []
    for experiment in experiments:
        found.append(rehearse(experiment, reproduction.image_classes))
        console.print(f"verified: {experiment.model.name}", highlight=False)
    shown = networks(found)
    table = Table(*shown.columns, box=None)
    for row in shown.rows:
        table.add_row(*row)
    output_console().print(table)
    return 0


def _find_data(study: Study) -> None:
    """Raise the error of data that is not there once, and not for every run."""
    from isoprune.experiment.digests import canonical
    from isoprune.experiment.pipeline import splits_of
    from isoprune.experiment.signatures import resolve

    for experiment in {canonical(e.data.as_dict()): e for e in study.experiments}.values():
        splits_of(resolve(experiment))


def _refuse_long(reproduction: Reproduction, study: Study) -> None:
    import torch

    from isoprune.reproduction import days
    from isoprune.types.errors import IsopruneError

    if torch.cuda.is_available():
        return
    error_console().print("No GPU here: estimating how long the published recipe would take ...")
    found = days(study.experiments, reproduction.image_classes)
    if found > DAYS:
        raise IsopruneError(
            f"{len(study.experiments)} runs of the published recipe would take about {found:,.0f} days "
            "on this machine. Take --scale laptop, a machine with GPUs, or --anyway."
        )
