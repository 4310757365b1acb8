"""The record of a run, from the stored facts and measurements of its networks."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import torch

from isoprune.experiment.config import Experiment
from isoprune.experiment.measure import Measured
from isoprune.experiment.resolve import labels
from isoprune.experiment.signatures import schedule
from isoprune.experiment.step_result import StepResult, dense_of
from isoprune.experiment.step_types import Prune, Retrain, TrainingConfig
from isoprune.experiment.validation import plain
from isoprune.training import trainability_accuracy
from isoprune.types.record import (
    ErrorPath,
    MeasureRecord,
    NetworkRecord,
    Record,
    Removal,
    TrainingCost,
    UnitsRemoved,
)
from isoprune.types.training_cost import training_work


def make_record(
    digest: str,
    name: str,
    experiment: Experiment,
    way: Sequence[StepResult],
    measured: Sequence[Measured],
    measures: Sequence[Mapping[str, MeasureRecord]],
    paths: Sequence[Mapping[str, ErrorPath]],
    *,
    measure_seconds: float,
) -> Record:
    """Return the record of a run.

    Args:
        digest: It names the run.
        name: Of the study in which it was run first.
        experiment: Resolved, so that its config says every default.
        way: Its networks, in the order of the steps.
        measured: What was measured of each.
        measures: And of those that were retrained next, by the measure.
        paths: The lines that lead to those that were retrained: "barrier", "instability".
    """
    return Record(
        digest=digest,
        name=name,
        config=experiment.as_dict(),
        labels=labels(experiment),
        environment=environment(),
        networks=[
            _network(way[: i + 1], numbers, dict(taken), lines)
            for i, (numbers, taken, lines) in enumerate(zip(measured, measures, paths, strict=True))
        ],
        removals=[
            _removal(result, result.step.step) for result in way if isinstance(result.step.step, Prune)
        ],
        trainability_accuracy=_trainability(way),
        seconds={"measure": measure_seconds},
    )


def _network(
    way: Sequence[StepResult],
    numbers: Measured,
    measures: dict[str, MeasureRecord],
    paths: Mapping[str, ErrorPath],
) -> NetworkRecord:
    *_, result = way
    step, facts, cost = result.step, result.facts, result.costs.pruned
    return NetworkRecord(
        role=step.role,
        step=step.place,
        round=step.round,
        digest=step.digest,
        parameters=cost.parameters,
        nonzero=cost.nonzero,
        flops=cost.flops,
        coded_bytes=facts.get("coded_bytes"),
        metrics=numbers.metrics,
        jsv=numbers.jsv,
        jsv_histogram=numbers.jsv_histogram,
        history=facts.get("history", []),
        seconds=facts["seconds"],
        peak_memory=facts.get("peak_memory"),
        training=_cost(way),
        advice=facts.get("advice"),
        measures=measures,
        **paths,
    )


def _cost(way: Sequence[StepResult]) -> TrainingCost | None:
    """Return samples and multiply-adds of a step's training, and its distillation; None if there was none."""
    *before, result = way
    samples, training = result.facts.get("samples"), result.step.training
    if samples is None:
        return None
    pruned = isinstance(result.step.step, Prune)
    if training is None and not pruned:
        # A repair: the dense network's outputs are what it learns from, and is judged by.
        own, whole = result.costs.pruned.flops, dense_of(way).costs.pruned.flops
        cost = training_work(samples["trained"], flops=own, teacher=whole)
        return TrainingCost(samples["trained"], cost + samples["estimated"] * (own + whole))
    # While it is made ready to be pruned, or scored, a network is as it was before.
    trained = before[-1] if pruned else result
    distill = None if training is None else training.distill
    cost = training_work(
        samples["trained"],
        flops=trained.costs.pruned.flops,
        teacher=0 if distill is None else dense_of(way).costs.pruned.flops,
        estimated=samples["estimated"],
    )
    return TrainingCost(samples["trained"], cost, None if distill is None else plain(distill))


def _removal(result: StepResult, pruning: Prune) -> Removal:
    request: dict[str, Any] = {
        key: value
        for key in ("ratio", "flops", "parameters", "allocation", "scope")
        if (value := getattr(pruning, key)) is not None
    }
    return Removal(
        step=result.step.place,
        round=result.step.round,
        grain=pruning.grain,
        request=request,
        ratios=dict(result.costs.ratios),
        units=[UnitsRemoved(*unit) for unit in result.costs.units],
        proof=result.facts["proof"],
    )


def _trainability(way: Sequence[StepResult]) -> float | None:
    """Return the mean accuracy of the last retraining at its first learning rate."""
    for result in reversed(way):
        training, history = result.step.training, result.facts.get("history", ())
        judged = len(history) > 1 and "validation_accuracy" in history[-1]
        if isinstance(result.step.step, Retrain) and training is not None and judged:
            return trainability_accuracy(history, epochs=first_stage(training, len(history) - 1))
    return None


def first_stage(training: TrainingConfig, epochs: int) -> int:
    """Return how many of ``epochs`` begin, one after the other from the first, at the first learning rate."""
    factor = schedule(training)
    first = factor(0.0)
    for epoch in range(epochs):
        if factor(epoch / epochs) != first:
            return epoch
    return epochs


def environment() -> dict[str, Any]:
    """Return what the bits may depend on besides the config."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "isoprune": version("isoprune"),
        "platform": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
    }
