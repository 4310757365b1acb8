"""The measures of networks that are about to be retrained, each taken once and kept beside the network."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from isoprune.experiment import seeds
from isoprune.experiment.config import Choice
from isoprune.experiment.digests import digest
from isoprune.experiment.measure import measured_once
from isoprune.experiment.signatures import bind
from isoprune.experiment.step_result import Bench, StepResult, pruned_of
from isoprune.experiment.step_types import Retrain
from isoprune.types.record import MeasureRecord
from isoprune.verbs import measures


def measures_taken(bench: Bench, way: Sequence[StepResult]) -> dict[str, MeasureRecord]:
    """Return the experiment's measures of the last network, if it is retrained next.

    They look at batches of the training split and at nothing else. Each has a file of its own, so that
    measures can be added to a store whose networks are trained.
    """
    last, chosen = way[-1], bench.experiment.measure.measures
    after = bench.steps[last.step.place + 1 : last.step.place + 2]
    if isinstance(chosen, str) or not chosen or not any(isinstance(one.step, Retrain) for one in after):
        return {}
    batches = seeds.SeededBatches(
        bench.splits.train, bench.batch, bench.seed, bench.experiment.measure.batches
    )
    pruned = functools.cache(lambda: pruned_of(bench, way))

    def take(one: Choice) -> MeasureRecord:
        name = one.name.rpartition(":")[2]
        found = measures(pruned(), batches, names=[bind("measure", one)], task=bench.task, seed=bench.seed)
        return MeasureRecord(dict(found.numbers), found.seconds.get(name, 0.0), found.refused.get(name, ""))

    taken = {}
    with bench.store.making(last.folder):  # The runs that begin with this network all want them.
        for one in chosen:
            path = last.folder / f"measure-{digest([one.as_dict(), batches.most, batches.batch])}.json"
            taken[one.name] = measured_once(
                path, MeasureRecord, functools.partial(take, one), lambda line: bench.on_event({"say": line})
            )
    return taken
