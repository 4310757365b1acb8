"""The dense network of a recipe, and networks that are trained after pruning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isoprune.experiment.networks import Made
from isoprune.experiment.recipe_steps import PlacedStep
from isoprune.experiment.step_result import Bench, StepResult, dense_of
from isoprune.experiment.steps.cluster import coded
from isoprune.experiment.steps.rewind import keeper
from isoprune.experiment.steps.train import trained
from isoprune.pruning.pruned import as_pruned
from isoprune.types import Plan


def make_dense(bench: Bench, step: PlacedStep, way: Sequence[StepResult], folder: Path) -> Made:
    """Return the network as it is drawn, or as the step before left it, trained."""
    training = step.training
    assert training is not None
    keep = keeper(folder, bench.keep) if bench.keep else None
    model = way[-1].model if way else bench.drawn()
    dense, found = trained(bench, model, training, step, folder, keep=keep)
    return Made(dense, Plan(), as_pruned(dense.eval(), bench.example()).costs, found)


def make_retrained(bench: Bench, step: PlacedStep, way: Sequence[StepResult], folder: Path) -> Made:
    """Return the last network, trained again; it may learn from the dense one."""
    training, last = step.training, way[-1]
    assert training is not None
    done, found = trained(bench, last.model, training, step, folder, dense=dense_of(way).model)
    return Made(done, last.plan, last.costs, {**found, **coded(done)})
