"""The training of a stage: from its part of the config to `fit`, at a given rate or at the advised one."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from isoprune.experiment import seeds
from isoprune.experiment.advised_rate import at_advised_rate
from isoprune.experiment.config import Training
from isoprune.experiment.signatures import bind, schedule
from isoprune.experiment.stages import Bench
from isoprune.isometry import jacobian_singular_values
from isoprune.training import Distill, Loop, Tracking, device_of, fit, samples_seen
from isoprune.types import Plan


def train_stage(
    bench: Bench,
    model: nn.Module,
    training: Training,
    stage: str,
    folder: Path,
    *,
    dense: nn.Module | None = None,
    **more: Any,
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the trained network, its history, how many samples its steps took, and the advice on its rate.

    Args:
        folder: Where its checkpoint lies, and the probes of an advice.
        dense: The network to learn from, with distillation.
        more: Arguments of `fit`, in place of those from here.
    """
    if not training.epochs or training.lr is None:
        return model, {"history": []}
    # Retraining is told after the training before pruning, as one task.
    pressed = bench.experiment.prune.train
    before = pressed.epochs if pressed is not None and stage == "retrained" else 0
    inputs = seeds.jsv_inputs(bench.splits.validation, training.jsv_samples, seed=bench.experiment.seed)
    tracked = Tracking(training.trackers, bench.store.root / "trackers", f"{stage}-{folder.name}")
    settings: dict[str, Any] = {
        "measure": functools.partial(_mean_jsv, inputs=inputs) if training.jsv_samples else None,
        "on_epoch": lambda row: bench.on_event(
            {"stage": stage, "epoch": before + row["epoch"], "epochs": before + training.epochs}
        ),
        "tracked": tracked if training.trackers else None,
        "checkpoint": folder / "checkpoint" / "state",
    }
    distill, penalty = training.distill, training.penalty
    how: dict[str, Any] = {
        "epochs": training.epochs,
        "schedule": schedule(training),
        "batch": training.batch,
        "momentum": training.momentum,
        "weight_decay": training.weight_decay,
        "steps": training.steps,
        "loop": Loop(**{f.name: getattr(training, f.name) for f in dataclasses.fields(Loop)}),
        "teacher": None if distill is None else dense,
        "distill": None if distill is None else Distill(distill.weight, distill.temperature),
    }
    settings |= {
        "generator": seeds.generator(bench.experiment.seed, stage),
        "save_steps": training.checkpoint_steps,
        "save_seconds": training.checkpoint_seconds,
        **more,
    }
    if penalty is not None and "penalty" not in settings:
        settings["penalty"] = lambda net: bind("penalty", penalty)(net, Plan())
    if isinstance(training.lr, str):
        trained, history, advice = at_advised_rate(bench, model, how, settings, folder)
    else:
        trained, history = fit(model, bench.splits, lr=training.lr, **how, **settings)
        advice = {}
    samples = _samples(training, len(bench.splits.train), advice.get("advice"))
    return trained, {"history": history, "samples": samples, **advice}


def _samples(training: Training, train: int, advice: Mapping[str, Any] | None) -> dict[str, int]:
    """Return how many samples the steps took, and the estimates after averaging, all that was tried included.

    A probe or a training that diverged counts as if it had gone on to its end.
    """
    trained = samples_seen(train, batch=training.batch, epochs=training.epochs, steps=training.steps)
    estimated = train
    if advice is not None:
        times, probing = 1 + len(advice["given_up"]), train - advice["held"]
        lengths = [probe["steps"] for probe in advice["probes"]]
        trained = times * trained + sum(
            samples_seen(probing, batch=training.batch, epochs=steps, steps=steps) for steps in lengths
        )
        estimated = times * train + len(lengths) * probing
    return {"trained": trained, "estimated": estimated if training.average else 0}


def _mean_jsv(model: nn.Module, *, inputs: Tensor) -> dict[str, float]:
    # The network is where it trains.
    sigma = jacobian_singular_values(model, inputs.to(device_of(model)))
    return {"jsv_mean": float(sigma.double().mean())}
