"""The result of a step: a network, loaded from the store by the digest of all steps before it, or made."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from isoprune.experiment import networks, seeds
from isoprune.experiment.config import Experiment
from isoprune.experiment.memory import growth
from isoprune.experiment.networks import Made, checked_facts, read_made, save_step
from isoprune.experiment.recipe_steps import PlacedStep
from isoprune.experiment.signatures import task_of
from isoprune.experiment.step_types import Rewind, Train
from isoprune.experiment.store import Store, forget_checkpoint
from isoprune.pruning.costs import Costs
from isoprune.pruning.pruned import Pruned, as_pruned
from isoprune.types import IsopruneError, Plan, Splits, Task
from isoprune.types.files import DamagedFile
from isoprune.types.samples import inputs_at
from isoprune.types.temporary import clear_temporary

Event = Mapping[str, Any]
OnEvent = Callable[[Event], object]


@dataclass(frozen=True)
class StepResult:
    """A finished network and its facts."""

    step: PlacedStep
    model: nn.Module
    plan: Plan  # which units of the dense network are still there
    costs: Costs
    facts: Mapping[str, Any]
    folder: Path


@dataclass(frozen=True)
class Bench:
    """What all steps of one run share; ``keep`` are epochs of the dense training that are rewound to."""

    experiment: Experiment
    steps: tuple[PlacedStep, ...]
    splits: Splits
    store: Store
    on_event: OnEvent
    keep: tuple[int, ...] = ()

    @property
    def seed(self) -> int:
        return self.experiment.seed

    @property
    def batch(self) -> int:
        """Samples of a batch that a method looks at: those of the dense training."""
        return self.experiment.dense.batch

    @property
    def task(self) -> Task:
        return task_of(self.experiment.task)

    def generator(self, name: str) -> torch.Generator:
        return seeds.generator(self.seed, name)

    def example(self) -> Tensor:
        return inputs_at(self.splits.validation, torch.arange(2))

    def drawn(self, *, weights: bool = True) -> nn.Module:
        """Return the network before any step; without ``weights`` its weights file is not read."""
        chosen = self.experiment.model
        model = chosen if weights else networks.without_weights(chosen)
        return seeds.build_model(model, self.splits.in_shape, self.splits.classes, seed=self.seed)


def dense_of(way: Sequence[StepResult]) -> StepResult:
    """Return the dense network on the way here: what the last training before pruning made."""
    return next(made for made in reversed(way) if isinstance(made.step.step, Train))


def pruned_of(bench: Bench, way: Sequence[StepResult], *, dense: nn.Module | None = None) -> Pruned:
    """Return the last network on the way as what verbs take: with its dense network and its plan.

    Args:
        dense: In place of the dense network: what it was at the epoch that was rewound to.
    """
    last, dense = way[-1], dense_of(way).model if dense is None else dense
    whole = as_pruned(dense, bench.example())
    return replace(whole, model=last.model, plan=last.plan, costs=last.costs)


def rewound_to(way: Sequence[StepResult]) -> int | None:
    """Return the epoch whose weights the last network has; None if it was trained since, or never rewound."""
    for made in reversed(way):
        if isinstance(made.step.step, Rewind):
            return made.step.step.epoch
        if made.step.epochs or isinstance(made.step.step, Train):
            return None
    return None


def find_or_make(bench: Bench, step: PlacedStep, make: Callable[[Path], Made]) -> StepResult:
    """Return a step's result from the store, or make it there while no other process does."""
    folder = bench.store.folder(step.digest)
    if (result := _find(bench, step, folder)) is not None:
        return result
    with bench.store.making(folder):
        if (result := _find(bench, step, folder, say=True)) is not None:
            return result
        clear_temporary(folder)
        started = time.perf_counter()
        try:
            with growth() as grown:
                made = make(folder)
        except IsopruneError as error:
            # Where it went wrong, in the error's own type: Diverged stays Diverged.
            error.args = (f"{step.label} {step.digest}, seed {bench.seed}: {error}", *error.args[1:])
            raise
        facts = {
            "role": step.role,
            "digest": step.digest,
            "dense": next(
                s.digest for s in reversed(bench.steps[: step.place + 1]) if isinstance(s.step, Train)
            ),
            "config": step.config,
            "in_shape": list(bench.splits.in_shape),
            "classes": bench.splits.classes,
            "peak_memory": max(grown, default=None),
            # A training that was interrupted took longer than its last part.
            "seconds": max(made.facts.get("seconds", 0.0), time.perf_counter() - started),
        }
        dense, source = bench.drawn(weights=False), bench.experiment.model.name
        save_step(folder, made, facts, dense=dense, example=bench.example(), source=source)
        forget_checkpoint(folder)
    # As a later run will read it, so that nothing depends on who made it.
    result = _find(bench, step, folder)
    assert result is not None
    return result


def _find(bench: Bench, step: PlacedStep, folder: Path, *, say: bool = False) -> StepResult | None:
    """Return what the store has; None where there is nothing, or it is damaged: it is then made again."""
    try:
        facts = checked_facts(folder)
        if facts is None:
            return None
        made = read_made(folder, facts, lambda: bench.drawn(weights=False))
    except DamagedFile as error:
        if say:
            bench.on_event({"say": f"{error} It is made again now."})
        return None
    return StepResult(step, made.model, made.plan, made.costs, facts, folder)
