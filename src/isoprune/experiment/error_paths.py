"""The error on straight lines that lead to networks that were retrained, each measured once and kept.

The barrier between rounds: from the end of the training before (the retrained network of the round before,
in the first round the dense network) without what this network lacks, so that both ends have its masks.
The instability: from a copy that is retrained from the same start in another order of samples.

Sources: Frankle, Dziugaite, Roy & Carbin, Linear mode connectivity and the lottery ticket hypothesis, ICML
2020; between rounds: Paul, Chen, Larsen, Frankle, Ganguli & Dziugaite, Unmasking the lottery ticket
hypothesis, ICLR 2023, arXiv 2210.03044.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from msgspec import structs
from torch import nn

from isoprune.experiment.digests import digest
from isoprune.experiment.measure import measured_once
from isoprune.experiment.seeds import SeededBatches
from isoprune.experiment.step_result import Bench, StepResult, dense_of
from isoprune.experiment.step_types import Cluster, Prune, Retrain, Train
from isoprune.experiment.steps.train import trained
from isoprune.experiment.store import forget_checkpoint
from isoprune.graph import trace
from isoprune.pruning.grains import read_grain
from isoprune.pruning.mask import harden, masked, masks_of
from isoprune.pruning.residual_blocks import deepened, without_blocks
from isoprune.pruning.rounds import inflated
from isoprune.pruning.shrink import shrink
from isoprune.training import Diverged
from isoprune.types import IsopruneError
from isoprune.types.record import ErrorPath
from isoprune.types.units import DEPTH
from isoprune.verbs import error_path

OTHER_ORDER = "in another order"
STATISTICS = 1024  # training samples that BatchNorm's statistics between the ends are of


def error_paths(bench: Bench, way: Sequence[StepResult]) -> dict[str, ErrorPath]:
    """Return the lines to the last network on the way, if it was retrained: "barrier" and "instability".

    Those that the experiment's [measure] asks for, on validation data. Each has a file of its own, so that
    they can be added to a store whose networks are trained.
    """
    last, how = way[-1], bench.experiment.measure
    if not isinstance(last.step.step, Retrain):
        return {}
    taken = {}
    kinds = (("barrier", how.barrier, _barrier), ("instability", how.instability, _instability))
    for name, points, take in kinds:
        if points is None:
            continue
        path = last.folder / f"{name}-{digest([points, bench.batch])}.json"
        with bench.store.making(last.folder):
            taken[name] = measured_once(
                path, ErrorPath, partial(take, bench, way, points), lambda line: bench.on_event({"say": line})
            )
    return taken


def _barrier(bench: Bench, way: Sequence[StepResult], points: int) -> ErrorPath:
    before = next(made for made in reversed(way[:-1]) if isinstance(made.step.step, Train | Retrain))
    return _line(
        bench, lambda: without_what_went(bench, way, before), way[-1], points, start=before.step.digest
    )


def without_what_went(bench: Bench, way: Sequence[StepResult], before: StepResult) -> nn.Module:
    """Return an earlier network without what the last one lacks: of its shape, under its masks."""
    last, masks = way[-1], masks_of(way[-1].model)
    since = way[before.step.place + 1 :]
    if not any(isinstance(made.step.step, Prune | Cluster) for made in since):
        return before.model
    if masks or read_grain(last.plan.grain).of_tensors:  # shared weights have none, and no line either
        return masked(harden(before.model), masks)
    dense = dense_of(way).model
    if last.plan.grain == DEPTH:
        return without_blocks(deepened(dense, before.plan, before.model), last.plan)
    graph = trace(dense.eval(), bench.example())
    # Plans are numbered as in the dense network, so the earlier one goes back to that size first.
    whole = inflated(dense, graph, before.plan, before.model) if before.plan else before.model
    return shrink(whole, graph, last.plan)


def _instability(bench: Bench, way: Sequence[StepResult], points: int) -> ErrorPath:
    """Return the line from a copy that is retrained as the last network was, but in another order."""
    last, start = way[-1], way[-2].model
    training = last.step.training
    assert training is not None
    # At the rate that the first was trained with: an advice of its own might be another one.
    rate = last.facts["advice"]["lr"] if "advice" in last.facts else training.lr
    same = structs.replace(training, lr=rate, jsv_samples=0, trackers=())
    aside = replace(
        bench,
        on_event=lambda event: bench.on_event({**event, "stage": f"{last.step.label} {OTHER_ORDER}"}),
    )
    dense, stream = dense_of(way).model, f"{last.step.stream()} {OTHER_ORDER}"
    try:
        copy, found = trained(aside, start, same, last.step, last.folder, dense=dense, stream=stream)
    except Diverged as error:
        return ErrorPath(refused=f"The copy {OTHER_ORDER}: {error}")
    forget_checkpoint(last.folder)
    line = _line(bench, lambda: copy, last, points)
    return structs.replace(line, samples=found.get("samples", {}).get("trained", 0))


def _line(
    bench: Bench, first: Callable[[], nn.Module], last: StepResult, points: int, *, start: str | None = None
) -> ErrorPath:
    batches = SeededBatches(bench.splits.train, bench.batch, bench.seed, math.ceil(STATISTICS / bench.batch))
    try:
        path = error_path(
            first(),
            last.model,
            bench.splits,
            task=bench.task,
            points=points,
            batches=batches,
            samples=STATISTICS,
        )
    except IsopruneError as error:  # Of weights that are shared, or another shape.
        return ErrorPath(start=start, refused=str(error))
    finite = all(map(math.isfinite, path.errors))
    return ErrorPath(
        start=start,
        metric=path.metric,
        loss=path.loss,
        errors=[error if math.isfinite(error) else None for error in path.errors],
        barrier=path.barrier if finite else None,
        above_line=path.above_line if finite else None,
    )
