"""A study from beginning to end: what the store has not is done by an executor, and the records come back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoprune.experiment.executor import OnEvent

if TYPE_CHECKING:
    from isoprune.experiment.grid import Study
    from isoprune.experiment.study import Failure, StudyWork
    from isoprune.types.record import Record

Monitor = Callable[["StudyWork"], AbstractContextManager[OnEvent]]


@dataclass(frozen=True)
class StudyResult:
    """The records of a study's finished runs, in its order, and what failed."""

    work: StudyWork
    records: list[Record]
    failures: list[Failure]


def run_study(
    study: Study,
    where: Path | str = "runs",
    *,
    jobs: int | None = 1,
    executor: str = "local",
    address: str = "auto",
    listing: bool = True,
    watch: Monitor = lambda _: nullcontext(lambda *_: None),
) -> StudyResult:
    """Do what is left of a study and return its records; stopped, the same call goes on.

    Args:
        study: As `read_study` or `expand` gives it.
        where: The store, a directory or a URL.
        jobs: How many tasks at once; None for one here, or on a cluster for all that fit.
        executor: "local", processes of this machine, or "ray", the nodes of the cluster at ``address``.
        listing: Whether to write which runs the study has, so that it can be reported by its name.
        watch: Called once with the work that is left; gives what gets each task's events while it is done.

    Raises:
        IsopruneError: Before anything is trained, if an experiment cannot work or the store not be written.
    """
    from isoprune.experiment.catalogue import check_experiment

    for experiment in study.experiments:
        check_experiment(experiment)
    # The workers import torch while this process does.
    with _executor(executor, jobs, address, len(study.experiments)) as workers:
        from isoprune.experiment.mirror import settle, stored
        from isoprune.experiment.remote import check_rights, open_mirror
        from isoprune.experiment.study import plan_work, run_work, write_listing

        store = stored(where)
        work = plan_work(study, store)
        if store.url and work.tasks:
            check_rights(store.url)
        if listing:
            write_listing(work)
        with watch(work) as on_event:
            failures = run_work(work, workers, on_event=on_event)
        if store.url:
            settle(open_mirror(store.url))
    return StudyResult(work, finished(work), failures)


def finished(work: StudyWork) -> list[Record]:
    """Return the records that the store has of a study's runs."""
    return [record for key in work.runs if (record := work.store.read_record(key)) is not None]


def listing_path(where: Path | str, name: str) -> str:
    """Return the path or URL of the list of a study's runs."""
    return f"{str(where).rstrip('/')}/studies/{name}.json"


def _executor(kind: str, jobs: int | None, address: str, runs: int) -> Any:
    """Return what does a study's tasks within a block; nothing has started yet."""
    if kind == "ray":
        from isoprune.experiment.ray_executor import RayCluster

        return RayCluster(address, jobs)
    from isoprune.experiment.executor import Workers, check_jobs

    return Workers(min(check_jobs(1 if jobs is None else jobs), runs))
