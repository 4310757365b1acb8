"""One experiment: data -> one network after the other, by the steps of its recipe -> record.

No step looks ahead. Each takes the networks so far and makes a new one, which lies in the store under the
digest of all it depends on: found there, it is not made again; interrupted, its training goes on.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Sequence

from isoprune.experiment.config import Experiment, choice
from isoprune.experiment.digests import canonical, digest, run_digest
from isoprune.experiment.error_paths import error_paths
from isoprune.experiment.measure import Measured, measure, measured_once
from isoprune.experiment.measures_taken import measures_taken
from isoprune.experiment.recipe_steps import placed
from isoprune.experiment.record import make_record
from isoprune.experiment.resolve import resolve
from isoprune.experiment.signatures import bind
from isoprune.experiment.step_result import Bench, OnEvent, StepResult, find_or_make
from isoprune.experiment.step_types import Rewind
from isoprune.experiment.steps import MAKERS
from isoprune.experiment.steps.prune import check_lengths
from isoprune.experiment.store import Store
from isoprune.training import check_alone
from isoprune.types import Splits
from isoprune.types.record import Record
from isoprune.types.temporary import clear_temporary


def run(
    experiment: Experiment,
    store: Store,
    *,
    name: str = "run",
    on_event: OnEvent = lambda _: None,
) -> Record:
    """Return the record of an experiment, from the store or by running it.

    Args:
        experiment: What to do; equal experiments give equal bits (with equal versions and one thread).
        store: Where finished steps are found and put.
        name: The study's name, written into the record.
        on_event: Called with {"stage", "epoch", "epochs", "accuracy", "seconds"} (of the epoch, on validation
            data) while networks train.

    Raises:
        IsopruneError: Bad options, damaged or unwritable store, or a training that diverged.
    """
    check_alone()
    experiment = resolve(experiment)
    key = run_digest(experiment.as_dict())
    if (record := store.read_record(key)) is not None:
        return record
    bench = make_bench(experiment, store, on_event)
    folder = store.record_path(key).parent
    with store.making(folder):
        if (record := store.read_record(key)) is not None:
            return record
        clear_temporary(folder)
        way = results(bench)
        started = time.perf_counter()
        measured = [_measured(bench, result) for result in way]
        measures = [measures_taken(bench, way[: i + 1]) for i in range(len(way))]
        paths = [error_paths(bench, way[: i + 1]) for i in range(len(way))]
        seconds = time.perf_counter() - started
        store.write_record(
            make_record(key, name, experiment, way, measured, measures, paths, measure_seconds=seconds)
        )
        # As a later run will read it, so that the record does not depend on who made it.
        record = store.read_record(key)
        assert record is not None
        return record


def make_step(
    experiment: Experiment,
    store: Store,
    *,
    place: int,
    on_event: OnEvent = lambda _: None,
    keep: Sequence[int] = (),
) -> None:
    """Put the result of a step, measured, into the store: all runs that share it find it there.

    ``keep`` are epochs of the dense network that other runs rewind to, besides its own.
    """
    check_alone()
    experiment = resolve(experiment)
    if not store.finished(placed(experiment)[place].digest):
        bench = make_bench(experiment, store, on_event, keep)
        way = results(bench, last=place)
        _measured(bench, way[-1])
        measures_taken(bench, way)
        error_paths(bench, way)


def make_bench(
    experiment: Experiment, store: Store, on_event: OnEvent = lambda _: None, keep: Sequence[int] = ()
) -> Bench:
    """Return what the steps of a resolved experiment share."""
    rewinds = [step.epoch for _, step in experiment.keyed() if isinstance(step, Rewind)]
    return Bench(
        experiment, placed(experiment), splits_of(experiment), store, on_event, tuple({*keep, *rewinds})
    )


def results(bench: Bench, *, last: int | None = None) -> list[StepResult]:
    """Return the networks of the steps (up to one), found or made."""
    check_lengths(bench)
    way: list[StepResult] = []
    for step in bench.steps if last is None else bench.steps[: last + 1]:
        make = functools.partial(MAKERS[type(step.step)], bench, step, tuple(way))
        way.append(find_or_make(bench, step, make))
    return way


def _measured(bench: Bench, result: StepResult) -> Measured:
    """Return a network's numbers; they lie beside it, so runs that share it measure it once."""
    how = bench.experiment.measure
    return measured_once(
        result.folder / f"measured-{digest({'samples': how.samples, 'bins': how.bins})}.json",
        Measured,
        lambda: measure(result.model, bench.splits, how, task=bench.task, seed=bench.seed),
        lambda line: bench.on_event({"say": line}),
    )


def splits_of(experiment: Experiment) -> Splits:
    """Return the data of a resolved experiment, cut by its seed."""
    return _load(canonical(experiment.data.as_dict()), experiment.seed)


@functools.lru_cache(maxsize=2)  # A worker's next run is most often on the same data.
def _load(data: str, seed: int) -> Splits:
    return bind("data", choice(json.loads(data), "data"))(seed=seed)
