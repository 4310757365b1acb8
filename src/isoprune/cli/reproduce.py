"""`isoprune reproduce`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from isoprune.cli.console import error_console, output_console, say
from isoprune.cli.options import Address, Again, Executor, Jobs, Settings, StorePlace
from isoprune.cli.study_shown import carry_out
from isoprune.types.errors import IsopruneError

if TYPE_CHECKING:
    from isoprune.experiment.grid import Study
    from isoprune.reproduction import Reproduction
    from isoprune.types.record import Record

DAYS = 1.0  # longer than this, the published recipe is started only with --anyway


def reproduce(
    name: str,
    /,
    *,
    scale: str = "laptop",
    jobs: Jobs = None,
    executor: Executor = "local",
    address: Address = "auto",
    out: Path = Path("reproductions"),
    check: bool = False,
    anyway: bool = False,
    page_only: bool = False,
    settings: Settings = (),
    store: StorePlace = "runs",
    again: Again,
) -> int:
    """Redo a table or figure of the papers: a study, and a page with the published numbers and verdicts.

    `paper` is the published recipe, for GPUs and days; `laptop` the same study on real data, in minutes on
    two cores; `smoke` shows in seconds that it runs. Started again, it does only what is not finished.

    example:
      isoprune reproduce lr-effect --scale laptop --jobs 2
      isoprune reproduce value-of-pruning --scale paper --check

    Args:
        name: Such as lr-effect or imagenet; a name that is none lists all.
        scale: smoke, laptop or paper.
        out: Directory for the page, as NAME.html and NAME.md.
        check: Build, prune and verify every network of the study, and train nothing.
        page_only: Make the page of the runs that are finished, and start none.
        anyway: Start the published recipe however long it takes here.
    """
    from isoprune.reproduction import find, reproduction_page, study_of

    reproduction = find(name)
    study = study_of(reproduction, scale, settings)
    if check:
        return _check(reproduction, study)
    if page_only:
        code, records = 0, _finished(study, store)
    else:
        if scale == "paper" and not anyway:
            _refuse_long(reproduction, study)
        _find_data(study)
        code, records = carry_out(study, store, again=again, jobs=jobs, executor=executor, address=address)
    if not records:
        return code
    page, verdicts = reproduction_page(
        reproduction,
        scale,
        records,
        study=study.experiments,
        paper=study_of(reproduction, "paper").experiments if "paper" in reproduction.scales else (),
        command=again,
        folder=out,
    )
    for claim, verdict in verdicts:
        output_console().print(f"{claim.text}\n  [bold]{verdict.word}[/]: {verdict.because}")
    say(f"\nPage: {os.path.relpath(page)}")
    return code


def _check(reproduction: Reproduction, study: Study) -> int:
    from isoprune.reproduction import dry_run, unique_networks
    from isoprune.reproduction.tables import networks
    from isoprune.types.tables import terminal

    experiments = unique_networks(study.experiments)
    console = error_console()
    console.print(f"{len(study.experiments)} experiments, {len(experiments)} networks.")
    found = []
    for experiment in experiments:
        found.append(dry_run(experiment, reproduction.image_classes))
        console.print(f"verified: {experiment.model.name}", highlight=False)
    output_console().print(terminal(networks(found)))
    return 0


def _finished(study: Study, store: str) -> list[Record]:
    from isoprune.experiment.mirror import stored
    from isoprune.experiment.study import plan_work
    from isoprune.experiment.study_run import finished

    records = finished(plan_work(study, stored(store)))
    if not records:
        raise IsopruneError(f"No run of {study.name} is finished in {store}. Start it without --page-only.")
    return records


def _find_data(study: Study) -> None:
    """Raise the error of data that is not there once, and not for every run."""
    from isoprune.experiment.digests import canonical
    from isoprune.experiment.pipeline import splits_of
    from isoprune.experiment.resolve import resolve

    for experiment in {canonical(e.data.as_dict()): e for e in study.experiments}.values():
        splits_of(resolve(experiment))


def _refuse_long(reproduction: Reproduction, study: Study) -> None:
    import torch

    from isoprune.reproduction import days

    if torch.cuda.is_available():
        return
    error_console().print("No GPU here: estimating how long the published recipe would take ...")
    found = days(study.experiments, reproduction.image_classes)
    if found > DAYS:
        raise IsopruneError(
            f"{len(study.experiments)} runs of the published recipe would take about {found:,.0f} days "
            "on this machine. Take --scale laptop, a machine with GPUs, or --anyway."
        )
