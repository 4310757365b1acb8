"""Shared by `run`, `study`, `demo` and `reproduce`: run a study, show it, write its page, report its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoprune.cli.console import error_console
from isoprune.experiment.study_run import finished, listing_path, run_study
from isoprune.types.tables import Table

if TYPE_CHECKING:
    from isoprune.experiment.executor import OnEvent
    from isoprune.experiment.grid import Study
    from isoprune.experiment.progress import StudyProgress
    from isoprune.experiment.study import StudyWork
    from isoprune.types.record import Record

FAILED = 1  # some run failed for a reason that is not the user's to mend


def carry_out(
    study: Study, store: str, *, again: str, listing: bool = True, **how: Any
) -> tuple[int, list[Record]]:
    """Run the unfinished part of a study; return the exit code and the finished records.

    Args:
        store: A directory or a URL.
        again: The command that goes on with it, for the messages after Ctrl-C and after a failure.
        listing: Whether to write which runs the study has, and a page while it runs.
        how: ``jobs``, ``executor`` and ``address`` of `run_study`.
    """
    from isoprune.types.duration import duration

    console, started = error_console(), time.monotonic()
    shown = _shown(store, again=again, page=listing)
    result = run_study(study, store, listing=listing, watch=shown, **how)
    runs, records = result.work.runs, result.records
    if not result.failures:
        if result.work.tasks:
            console.print(f"{len(records)} runs are finished ({duration(time.monotonic() - started)}).")
        return 0, records
    for failure in result.failures:
        if failure.outcome.detail:
            console.print(failure.outcome.detail.rstrip(), markup=False, highlight=False)
        console.print(f"failed: {failure.label}: {failure.outcome.error}", markup=False, highlight=False)
    console.print(
        f"{len(runs) - len(records)} of {len(runs)} runs failed; the others are kept. Try again with: {again}"
    )
    return (2 if all(f.outcome.mendable for f in result.failures) else FAILED), records


def _shown(store: str, *, again: str, page: bool) -> Any:
    """Return what shows the work of a study while it is done: on the terminal, and in its page."""

    @contextmanager
    def watch(work: StudyWork) -> Iterator[OnEvent]:
        from isoprune.experiment.progress import StudyProgress

        console = error_console()
        if work.kept:
            console.print(f"{len(work.kept)} of {len(work.runs)} runs are in {store} already.")
        progress = StudyProgress(work.labels, work.epochs, console)
        write: Callable[[str], None] = lambda _: None  # noqa: E731
        if page and work.tasks:
            write = page_writer(work, progress, again=again, report=report_command(store, work.study.name))
            write("running")
            console.print(f"To watch it: {page_of(work).resolve()}", markup=False, highlight=False)

        def on_event(task: str, event: Mapping[str, Any]) -> None:
            progress(task, event)
            write("running")

        try:
            with progress:
                yield on_event
        except KeyboardInterrupt:
            write("stopped")
            console.print(
                f"\nStopped. {len(finished(work))} of {len(work.runs)} runs are finished and kept in "
                f"{store}; begun trainings go on from their last epoch. Go on with: {again}"
            )
            raise
        write("ended" if progress.shown()["failures"] else "finished")

    return watch


def report_command(store: str, name: str) -> str:
    """Return the command that makes the page of a study."""
    return f"isoprune report {listing_path(store, name)} --out {name}.html"


def network_table(record: Record) -> Table:
    """Return what each network of a run measures."""
    metrics = list(dict.fromkeys(name for n in record.networks for name in n.metrics if "test" in name))
    coded = any(network.coded_bytes is not None for network in record.networks)
    sizes = ("parameters", "FLOPs", *(["file bytes"] if coded else []))
    rows = []
    for network in record.networks:
        name = f"{network.role} {network.round}" if network.round else network.role
        numbers = [_metric(key, network.metrics.get(key)) for key in metrics]
        jsv = network.jsv.get("mean")
        counts = (network.nonzero, network.flops, *([network.coded_bytes] if coded else []))
        cells = ("" if count is None else f"{count:,}" for count in counts)
        rows.append((name, *numbers, "" if jsv is None else f"{jsv:.3g}", *cells))
    heads = ("network", *(name.replace("_", " ") for name in metrics), "mean JSV", *sizes)
    return Table(heads, tuple(rows))


def _metric(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2%}" if name.endswith("accuracy") else f"{value:.4g}"


SECONDS = 2.0  # between two pages
SHARE = 0.01  # of the time, at most: on a slow disk there are fewer


def page_of(work: StudyWork) -> Path:
    return work.store.study_path(work.study.name).with_suffix(".html")


def page_writer(
    work: StudyWork, progress: StudyProgress, *, again: str, report: str
) -> Callable[[str], None]:
    """Return the function that writes the page: called with "running" now and then, at the end at once.

    A page that cannot be written is left as it is: the study goes on.
    """
    from isoprune.reporting import live_page

    due = 0.0

    def write(state: str) -> None:
        nonlocal due
        began = time.monotonic()
        if state == "running" and began < due:
            return
        with suppress(ValueError):  # An IsopruneError, which says where it cannot be written.
            live_page(
                work.study.name, state, progress.shown(), page_of(work),
                kept=len(work.kept), again=again, report=report,
            )  # fmt: skip
        ended = time.monotonic()
        due = ended + max(SECONDS, (ended - began) / SHARE)

    return write
