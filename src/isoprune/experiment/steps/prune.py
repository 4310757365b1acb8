"""The pruned network of a step: in one shot, or after a training that prepares for it."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from isoprune.experiment import seeds
from isoprune.experiment.config import Choice
from isoprune.experiment.networks import Made
from isoprune.experiment.recipe_steps import PlacedStep
from isoprune.experiment.signatures import bind, find
from isoprune.experiment.step_result import Bench, StepResult, pruned_of
from isoprune.experiment.step_types import Prune, TrainingConfig
from isoprune.experiment.steps.train import trained
from isoprune.methods.penalties import Penalty, steps_needed
from isoprune.pruning import Pruned, prune_by
from isoprune.pruning.costs import costs_of
from isoprune.pruning.grains import read_grain, units_of
from isoprune.pruning.masking import mask_by
from isoprune.pruning.pruned import as_pruned
from isoprune.pruning.rounds import renumbered
from isoprune.training import check_penalty_steps
from isoprune.types import Plan
from isoprune.types.method import TRAINS
from isoprune.types.seeded import derived_seed
from isoprune.verbs import prune


def make_pruned(bench: Bench, step: PlacedStep, way: Sequence[StepResult], folder: Path) -> Made:
    """Return the smaller or masked network, and its facts: units removed, sizes, proof, training."""
    last = pruned_of(bench, way)
    training, found = step.training, {}
    pruning = step.step
    assert isinstance(pruning, Prune)
    batches = seeds.batches(pruning.criterion, bench.splits.train, batch=bench.batch, seed=bench.seed)
    if training is None:
        result = _shot(bench, step, last, batches)
    elif training.penalty is None:
        large, found = trained(bench, last.model, training, step, folder)
        result = _shot(bench, step, dataclasses.replace(last, model=large), batches)
    else:
        result, found = _pressed(bench, step, last, training, training.penalty, folder, batches)
    facts = {
        **found,
        **_samples(found.get("samples", {}), pruning.criterion),
        "proof": {"max_abs_error": result.proof.max_abs_error, "scale": result.proof.scale},
        "read": batches.read,
    }
    return Made(result.model, result.plan, result.costs, facts)


def _samples(samples: Mapping[str, int], criterion: Choice) -> dict[str, dict[str, int]]:
    """Return the samples of a training before pruning, and those that a criterion trains its scores on."""
    seen = sum(criterion.options.get(key) or 0 for key in TRAINS)
    if not seen and not samples:
        return {}
    trained, estimated = (samples.get(key, 0) for key in ("trained", "estimated"))
    return {"samples": {"trained": trained + seen, "estimated": estimated}}


def check_lengths(bench: Bench) -> None:
    """Raise before anything is trained if a training would end before its penalty is done."""
    for step in bench.steps:
        training = step.training
        if not isinstance(step.step, Prune) or training is None or training.penalty is None:
            continue
        steps = training.epochs * math.ceil(len(bench.splits.train) / training.batch)
        needed = steps_needed(find("penalty", training.penalty.name), training.penalty.options)
        check_penalty_steps(needed, min(steps, training.steps or steps))


def make_penalty(
    penalty: Choice,
    model: nn.Module,
    plan: Plan,
    *,
    graph: Any = None,
    choose: Callable[[], Plan] | None = None,
) -> Penalty:
    """Return a penalty for a network, given of graph and ``choose`` what it takes."""
    taken = inspect.signature(find("penalty", penalty.name)).parameters
    offered = {"graph": graph, "choose": choose}
    return bind("penalty", penalty)(model, plan, **{k: v for k, v in offered.items() if k in taken})


def _pressed(
    bench: Bench,
    step: PlacedStep,
    last: Pruned,
    training: TrainingConfig,
    penalty: Choice,
    folder: Path,
    batches: seeds.SeededBatches,
) -> tuple[Pruned, dict[str, Any]]:
    """Train a copy while the penalty pushes out what the network's scores chose; remove just that."""
    first = _shot(bench, step, as_pruned(last.model, bench.example()), batches)
    made: list[Penalty] = []

    def make(net: nn.Module) -> Penalty:
        def choose() -> Plan:
            now = as_pruned(copy.deepcopy(net).cpu().eval(), bench.example())
            return _shot(bench, step, now, batches).plan

        made.append(make_penalty(penalty, net, first.plan, graph=first.graph, choose=choose))
        return made[-1]

    large, found = trained(bench, last.model, training, step, folder, penalty=make)
    chosen = (made[-1].plan() if made else None) or first.plan
    pruning, grain = step.step, read_grain(first.plan.grain)
    assert isinstance(pruning, Prune)
    if pruning.mask or not grain.whole:  # the first time: a penalty presses on no masks
        return mask_by(large, bench.example(), first.graph, chosen, units_of(first.graph, grain)), found
    result = prune_by(large, bench.example(), first.graph, lambda *_: chosen)
    plan = last.plan.then(renumbered(last.graph, last.plan, result.graph, result.plan))
    costs = costs_of(last.dense, result.model, last.graph, plan)
    return dataclasses.replace(result, plan=plan, costs=costs), found


def _shot(bench: Bench, step: PlacedStep, network: Pruned, batches: seeds.SeededBatches) -> Pruned:
    pruning = step.step
    assert isinstance(pruning, Prune)
    return prune(
        network,
        ratio=pruning.ratio,
        flops=pruning.flops,
        parameters=pruning.parameters,
        criterion=bind("criterion", pruning.criterion),
        batches=batches,
        task=bench.task,
        grain=pruning.grain,
        mask=pruning.mask,
        allocation=pruning.allocation,
        scope=pruning.scope,
        round_to=pruning.round_to,
        floor=pruning.floor,
        cap=pruning.cap,
        seed=derived_seed(bench.seed, step.stream("scores")),
    )
