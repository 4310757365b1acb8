"""What `run`, `study` and `demo` share: do the work of a study, show it, and say how it ended."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from isoprune.experiment.grid import Study
from isoprune.types.errors import IsopruneError

FAILED = 1  # some run failed for a reason that is not the user's to mend


def add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        type=lambda text: text if "://" in text else Path(text),
        default=Path("runs"),
        metavar="DIR",
        help="where results are kept and found again: a directory, or a URL such as s3://bucket/runs "
        "(default: %(default)s)",
    )


def add_executor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="runs at once, one thread each (default: 1; on a cluster, one for each CPU)",
    )
    parser.add_argument(
        "--executor",
        choices=("local", "ray"),
        default="local",
        help="where the runs go: processes of this machine, or the nodes of a Ray cluster (default: local)",
    )
    parser.add_argument(
        "--address",
        default="auto",
        metavar="WHERE",
        help="of the Ray cluster: auto, HOST:6379 or ray://HOST:10001 (default: %(default)s)",
    )


def executor_options(args: argparse.Namespace) -> list[str]:
    """Return what of `add_executor`'s was given, to be written in a command that does the same again."""
    more = [] if args.jobs is None else ["--jobs", str(args.jobs)]
    more += [] if args.executor == "local" else ["--executor", args.executor]
    return more + ([] if args.address == "auto" else ["--address", args.address])


def add_set(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="settings",
        help="change a key of the file, as --set retrain.lr=0.1 (may be given more than once)",
    )


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to `main`: a reader that has seen enough is no failure, as it is for rich."""
        raise BrokenPipeError


def error_console() -> Console:
    """Return the console of progress and messages; results go to standard output."""
    return Console(stderr=True, soft_wrap=True)


def output_console() -> Console:
    """Return the console of results; wide where no terminal says how wide."""
    return _Console(width=None if os.isatty(1) else 120, highlight=False)


def carry_out(
    study: Study,
    where: Path | str,
    *,
    jobs: int | None = 1,
    again: str,
    listing: bool = True,
    executor: str = "local",
    address: str = "auto",
) -> tuple[int, list[dict[str, Any]]]:
    """Do what is left of a study; return the exit code and the records that are finished.

    Args:
        where: The store, a directory or a URL.
        jobs: How many tasks at once; None for one here, or on a cluster for all that fit.
        again: The command that goes on with it, told after Ctrl-C or a failure.
        listing: Whether to write which runs the study has, and a page while it runs.
    """
    from isoprune.experiment.progress import StudyProgress, duration

    console = error_console()
    # The workers import torch while this process does.
    with _executor(executor, jobs, address, len(study.experiments)) as workers:
        from isoprune.cli.live import page_of, page_writer
        from isoprune.experiment.mirror import settle, stored
        from isoprune.experiment.remote import check_rights, open_mirror
        from isoprune.experiment.study import plan_work, run_work, write_listing

        store = stored(where)
        work = plan_work(study, store)
        if store.url and work.tasks:
            check_rights(store.url)
        if listing:
            write_listing(work)
        if work.kept:
            console.print(f"{len(work.kept)} of {len(work.runs)} runs are in {where} already.")
        progress = StudyProgress(work.labels, work.epochs, console)
        page: Callable[[str], None] = lambda _: None  # noqa: E731
        if listing and work.tasks:
            page = page_writer(work, progress, again=again, report=report_command(where, study.name))
            page("running")
            console.print(f"To watch it: {page_of(work).resolve()}", markup=False, highlight=False)

        def on_event(task: str, event: Mapping[str, Any]) -> None:
            progress(task, event)
            page("running")

        try:
            with progress:
                failures = run_work(work, workers, on_event=on_event)
        except KeyboardInterrupt:
            page("stopped")
            done = len([key for key in work.runs if store.read_record(key) is not None])
            console.print(
                f"\nStopped. {done} of {len(work.runs)} runs are finished and kept in {where}; "
                f"begun trainings go on from their last epoch. Go on with: {again}"
            )
            raise
        page("ended" if failures else "finished")
        if store.url:
            settle(open_mirror(store.url))
    records = [record for key in work.runs if (record := store.read_record(key)) is not None]
    if not failures:
        if work.tasks:
            console.print(f"{len(records)} runs are finished ({duration(progress.elapsed())}).")
        return 0, records
    for failure in failures:
        if failure.outcome.detail:
            console.print(failure.outcome.detail.rstrip(), markup=False, highlight=False)
        console.print(f"failed: {failure.label}: {failure.outcome.error}", markup=False, highlight=False)
    missing = len(work.runs) - len(records)
    console.print(f"{missing} of {len(work.runs)} runs failed; the others are kept. Try again with: {again}")
    return (2 if all(f.outcome.mendable for f in failures) else FAILED), records


def _executor(kind: str, jobs: int | None, address: str, runs: int) -> Any:
    """Return what does a study's tasks within a block; nothing has started yet."""
    if kind == "ray":
        from isoprune.experiment.ray_executor import Cluster

        return Cluster(address, jobs)
    from isoprune.experiment.executor import Workers, check_jobs

    return Workers(min(check_jobs(1 if jobs is None else jobs), runs))


def study_listing(where: Path | str, name: str) -> str:
    """Return the path or URL of the list of a study's runs."""
    return f"{str(where).rstrip('/')}/studies/{name}.json"


def report_command(where: Path | str, name: str) -> str:
    return f"isoprune report {study_listing(where, name)} --out {name}.html"


def command(verb: str, file: Path | str, settings: Sequence[str], store: Path | str, *more: str) -> str:
    """Return the command line that does the same again."""
    import shlex

    words = ["isoprune", verb, str(file), *(w for s in settings for w in ("--set", s))]
    if store != Path("runs"):
        words += ["--store", str(store)]
    return shlex.join([word for word in [*words, *more] if word])


def stage_table(record: dict[str, Any]) -> Any:
    """Return what each stage of a run measures, as a table of the terminal."""
    from rich.table import Table

    table = Table("stage", box=None)
    for heading in ("test accuracy", "mean JSV", "parameters", "FLOPs"):
        table.add_column(heading, justify="right")
    for name, stage in record["stages"].items():
        numbers = (f"{stage['test_accuracy']:.2%}", f"{stage['jsv']['mean']:.3g}")
        table.add_row(name, *numbers, f"{stage['parameters']:,}", f"{stage['flops']:,}")
    return table


def write_out(file: Path, content: str, *, remedy: str = "Give another place: --out FILE.") -> None:
    """Write what ``--out`` asks for, whole or not at all.

    Raises:
        IsopruneError: If it cannot be written, with the ``remedy``.
    """
    from isoprune.types.files import write_atomic

    try:
        write_atomic(file, content.encode())
    except OSError as error:
        raise IsopruneError(f"{file} cannot be written: {error.strerror}. {remedy}") from error
