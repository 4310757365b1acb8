"""The pruned network of an experiment: in one shot, or after a training that prepares for it."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from isoprune.experiment import networks, seeds
from isoprune.experiment.config import Choice, Training
from isoprune.experiment.digests import derived_seed
from isoprune.experiment.signatures import bind, find
from isoprune.experiment.stages import Bench
from isoprune.experiment.train import train_stage
from isoprune.methods.penalties import PENALTIES, Penalty, steps_needed
from isoprune.pruning import Pruned, prune_by
from isoprune.training import check_penalty_steps
from isoprune.types import Plan
from isoprune.types.samples import inputs_at
from isoprune.verbs import prune


def make_pruned(bench: Bench, dense: nn.Module, folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return the smaller network, and what is known of it: which channels went, sizes, proof, training."""
    training, found = bench.experiment.prune.train, {}
    if training is None:
        large, result = dense, _shot(bench, dense)
    elif training.penalty is None:
        large, found = train_stage(bench, dense, training, "pruned", folder)
        result = _shot(bench, large)
    else:
        large, result, found = _pressed(bench, dense, training, training.penalty, folder)
    return result.model, {
        **found,
        "plan": result.plan.as_dict(),
        "sizes": networks.changed_sizes(large, result.model),
        "costs": result.costs.as_dict(),
        "proof": {"max_abs_error": result.proof.max_abs_error, "scale": result.proof.scale},
    }


def check_length(bench: Bench) -> None:
    """Raise before anything is trained if a training would end before its penalty is done."""
    training = bench.experiment.prune.train
    if training is None or training.penalty is None or training.penalty.name not in PENALTIES:
        return
    steps = training.epochs * math.ceil(len(bench.splits.train) / training.batch)
    check_penalty_steps(
        steps_needed(training.penalty.name, training.penalty.options), min(steps, training.steps or steps)
    )


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
    bench: Bench, dense: nn.Module, training: Training, penalty: Choice, folder: Path
) -> tuple[nn.Module, Pruned, dict[str, Any]]:
    """Train a copy while the penalty pushes out what the dense network's scores chose; remove just that."""
    first = _shot(bench, dense)
    made: list[Penalty] = []

    def make(model: nn.Module) -> Penalty:
        def choose() -> Plan:
            return _shot(bench, copy.deepcopy(model).cpu().eval()).plan

        made.append(make_penalty(penalty, model, first.plan, graph=first.graph, choose=choose))
        return made[-1]

    large, found = train_stage(bench, dense, training, "pruned", folder, penalty=make)
    plan = (made[-1].plan() if made else None) or first.plan
    return large, prune_by(large, _example(bench), first.graph, lambda *_: plan), found


def _shot(bench: Bench, model: nn.Module) -> Pruned:
    pruning = bench.experiment.prune
    batches = seeds.batches(
        pruning.criterion, bench.splits.train, batch=bench.experiment.dense.batch, seed=bench.experiment.seed
    )
    return prune(
        model,
        _example(bench),
        pruning.ratio,
        flops=pruning.flops,
        parameters=pruning.parameters,
        criterion=bind("criterion", pruning.criterion),
        batches=batches,
        allocation=pruning.allocation,
        scope=pruning.scope,
        round_to=pruning.round_to,
        floor=pruning.floor,
        cap=pruning.cap,
        seed=derived_seed(bench.experiment.seed, "scores"),
    )


def _example(bench: Bench) -> torch.Tensor:
    return inputs_at(bench.splits.validation, torch.arange(2))
