"""The training of a stage: from its part of the config to `fit`, at a given rate or at the advised one."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from isoprune.experiment import seeds
from isoprune.experiment.recipe_steps import PlacedStep
from isoprune.experiment.signatures import bind, schedule
from isoprune.experiment.step_result import Bench
from isoprune.experiment.step_types import TrainingConfig
from isoprune.experiment.steps.advised_rate import at_advised_rate
from isoprune.isometry import jacobian_singular_values
from isoprune.training import (
    Distill,
    Diverged,
    Loop,
    Saving,
    Tracking,
    Trained,
    Training,
    Watch,
    fit,
)
from isoprune.types import PenaltyTerm, Plan, Schedule
from isoprune.types.network import device_of
from isoprune.types.training_cost import samples_estimated, samples_seen


def trained(
    bench: Bench,
    model: nn.Module,
    training: TrainingConfig,
    step: PlacedStep,
    folder: Path,
    *,
    dense: nn.Module | None = None,
    penalty: Callable[[nn.Module], PenaltyTerm] | None = None,
    keep: Callable[[int, nn.Module], object] | None = None,
    again: Watch | None = None,
    stream: str | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the trained network, its history, how many samples its steps took, and the advice on its rate.

    The seconds among it are those of all that was tried: of probes and given-up rates too.

    Args:
        folder: Where its checkpoint lies, and the probes of an advice.
        dense: The network to learn from, with distillation.
        penalty: In place of that of the config.
        keep: As in `Watch`.
        again: Who sees it in place of the usual ones, where it is trained once more, without a checkpoint.
        stream: Of its random numbers, the order of samples among them; None: that of the step.
    """
    if not training.epochs or training.lr is None:
        return model, {"history": []}
    inputs = seeds.jsv_inputs(bench.splits.validation, training.jsv_samples, seed=bench.seed)
    tracked = Tracking(training.trackers, bench.store.root / "trackers", f"{step.role}-{folder.name}")
    watch = Watch(
        measure=functools.partial(_mean_jsv, inputs=inputs) if training.jsv_samples else None,
        on_epoch=lambda row: bench.on_event(
            {
                "stage": step.label,
                "epoch": row["epoch"],
                "epochs": training.epochs,
                "accuracy": row.get("validation_accuracy"),
                "seconds": row["seconds"],
            }
        ),
        keep=keep,
        tracked=tracked if training.trackers else None,
    )
    distill = None
    if training.distill is not None and dense is not None:
        distill = Distill(training.distill.weight, training.distill.temperature, dense)
    steps = training_of(training, schedule(training))
    if penalty is None and (choice := training.penalty) is not None:
        penalty = lambda net: bind("penalty", choice)(net, Plan())  # noqa: E731
    tried: list[float] = []
    spent: list[float] = []  # seconds of each

    def train(lr: float) -> Trained:
        path = folder / "checkpoint" / "state"
        saving = Saving(
            path if not tried else path.with_name(f"{path.name}-{len(tried)}"),
            training.checkpoint_steps,
            training.checkpoint_seconds,
        )
        tried.append(lr)
        began = time.perf_counter()
        try:
            made = fit(
                model,
                bench.splits,
                dataclasses.replace(steps, lr=lr),
                generator=bench.generator(stream or step.stream()),
                task=bench.task,
                distill=distill,
                penalty=penalty,
                watch=watch if again is None else again,
                saving=saving if again is None else None,
            )
        except Diverged:
            spent.append(time.perf_counter() - began)
            raise
        # A training that was interrupted took longer than its last part.
        spent.append(sum(row["seconds"] for row in made.history))
        return made

    if isinstance(training.lr, str):
        (done, history), advice = at_advised_rate(
            bench, model, steps, distill, folder, train, share=training.probe_share
        )
    else:
        done, history = train(training.lr)
        advice = {}
    samples = _samples(training, len(bench.splits.train), advice.get("advice"))
    probing = sum(probe["seconds"] for probe in advice["advice"]["probes"]) if advice else 0.0
    return done, {"history": history, "samples": samples, "seconds": probing + sum(spent), **advice}


def training_of(config: TrainingConfig, schedule: Schedule) -> Training:
    """Return the training that a config describes, at rate 0: its rate may still be advised."""
    return Training(
        epochs=config.epochs,
        lr=0.0,
        schedule=schedule,
        batch=config.batch,
        steps=config.steps,
        optimizer=config.optimizer,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        loop=Loop(**{f.name: getattr(config, f.name) for f in dataclasses.fields(Loop)}),
    )


def _samples(training: TrainingConfig, train: int, advice: Mapping[str, Any] | None) -> dict[str, int]:
    """Return how many samples the steps took, and the estimates after averaging, all that was tried included.

    A probe or a training that diverged counts as if it had gone on to its end.
    """
    trained = samples_seen(train, batch=training.batch, epochs=training.epochs, steps=training.steps)
    estimated = samples_estimated(train, batch=training.batch)
    if advice is not None:
        times, probing = 1 + len(advice["given_up"]), train - advice["judge_samples"]
        lengths = [probe["steps"] for probe in advice["probes"]]
        trained = times * trained + sum(
            samples_seen(probing, batch=training.batch, epochs=steps, steps=steps) for steps in lengths
        )
        estimated *= times
        if training.probe_share is None:  # short probes are not averaged
            estimated += len(lengths) * samples_estimated(probing, batch=training.batch)
    return {"trained": trained, "estimated": estimated if training.average else 0}


def _mean_jsv(model: nn.Module, *, inputs: Tensor) -> dict[str, float]:
    # The network is where it trains.
    sigma = jacobian_singular_values(model, inputs.to(device_of(model)))
    return {"jsv_mean": float(sigma.double().mean())}
