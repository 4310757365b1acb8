"""The learning rate that fits a network and a budget, by short trainings on training data only."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from isoprune.methods.schedules import schedule_of
from isoprune.training import (
    PLAIN,
    Distill,
    Diverged,
    Loop,
    Training,
    evaluate,
    fit,
)
from isoprune.training.checkpoint import digest
from isoprune.training.checks import check_training
from isoprune.training.distill import read_distill
from isoprune.training.fingerprint import fingerprint
from isoprune.training.loop import read_loop
from isoprune.training.rates import TOLERANCE, Advice, Probe, best_rate, check_rates, climb, score_of
from isoprune.training.settings import OptimizerChoice
from isoprune.training.source import Batching, data_of, source_of
from isoprune.types import CLASSIFICATION, Data, IsopruneError, Network, Schedule, Task, module_of
from isoprune.types.seeded import seeded
from isoprune.types.task import task_with
from isoprune.types.value_digest import value_digest

RATES = (0.003, 0.01, 0.03, 0.1, 0.3)
ADAPTIVE_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)  # of AdamW and optimizers of one's own
# Of the training that is advised on, for the probe of one rate. Shorter ones favour other rates than the
# training itself (docs/advice.md); most often three are run, which is 14 % of a grid of five.
SHARE = 0.24
JUDGED = 0.1  # of the training samples, on which probes are judged
MOST_JUDGED = 2000
LEAST_STEPS = 8


def advise(
    network: Network,
    data: Any = None,
    *,
    train: Any = None,
    epochs: int,
    schedule: str | Schedule = "one_cycle",
    steps: int | None = None,
    rates: Sequence[float] | None = None,
    task: Task = CLASSIFICATION,
    loss: Callable[[Any, Any], Tensor] | None = None,
    metrics: Mapping[str, Any] | None = None,
    optimizer: OptimizerChoice = "sgd",
    batch: int | None = None,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    loop: Loop | Mapping[str, Any] = PLAIN,
    dense: nn.Module | None = None,
    distill: Distill | Mapping[str, float] | None = None,
    seed: int = 0,
    share: float = SHARE,
    done: Sequence[Probe] = (),
    on_probe: Callable[[Probe], object] = lambda _: None,
) -> Advice:
    """Return the peak learning rate for a training of ``epochs`` (or ``steps``), and the probes behind it.

    At a rate the network is trained for ``share`` of the steps, with the whole schedule run through in
    them, on nine tenths of the training data, and judged on the last tenth by the task's first metric. The
    middle rate comes first, then larger ones as long as they end within `TOLERANCE` of the best one's
    accuracy; if none does, smaller ones as long as they gain more than that. Of the rates that end within
    `TOLERANCE` of the best, the largest is advised: a rate that is too large shows in few steps, one that
    is too small only in many. Of shorter probes than `SHARE` a rate above the middle one has to come as much
    nearer: within ``share / SHARE`` of `TOLERANCE`. Validation and test data are not touched.

    Give what `retrain` will get; its ``lr`` is then ``advice.lr``.

    Args:
        network: A module or a `Pruned`; left as it is.
        data: Training data, or `Splits` or `Data`, of which only ``train`` is used: a tenth of it, 2000
            samples at most, is held out. Or give ``train`` alone.
        epochs: Of the training that is advised on.
        schedule: A name in ``schedules.SCHEDULES``, with the default options of that function, or a schedule.
        steps: At most so many in all. None: as many as ``epochs`` take.
        rates: The rates to choose from; ascending. None: `RATES` of SGD, else `ADAPTIVE_RATES`.
        task, loss, metrics: As in `retrain`.
        optimizer: With ``batch``, ``momentum``, ``weight_decay`` and ``loop`` as in `Training`.
        dense: The network to learn from, with ``distill`` (weight and temperature).
        seed: Which samples are held out, and the order of the others.
        share: Of the training, for the probe of one rate. 0: nothing is probed, and the middle rate advised,
            which is where a network that computes nearly what the dense one does may begin. Short probes
            favour rates that leave collapse quickly, or that forget least.
        done: Probes of an interrupted call with these settings: they are not run again.
        on_probe: Called with each new probe.

    Cost: ``share`` of one training for each probe, most often three.

    Raises:
        IsopruneError: If rates do not ascend, all diverge, or the settings do not fit together.
    """
    given = data_of(data, train)
    how = schedule_of(schedule, epochs), batch, steps, optimizer, momentum, weight_decay, read_loop(loop)
    training = Training(epochs, 0.0, *how)
    training.check()
    return advise_on(
        module_of(network),
        source_of(given.train, batch),
        training,
        task=task_with(task, loss, metrics),
        distill=read_distill(distill, dense),
        rates=rates,
        seed=seed,
        share=share,
        done=done,
        on_probe=on_probe,
    )


def advise_on(
    model: nn.Module,
    given: Batching,
    training: Training,
    *,
    task: Task,
    distill: Distill | None = None,
    rates: Sequence[float] | None = None,
    seed: int = 0,
    share: float = SHARE,
    done: Sequence[Probe] = (),
    on_probe: Callable[[Probe], object] = lambda _: None,
) -> Advice:
    """Return the peak rate for a training, whatever its ``lr`` is; arguments and errors as of `advise`."""
    if not 0 <= share <= 1:
        raise IsopruneError(
            f"share is {share}, outside [0, 1]: the part of a training that a probe takes; 0 probes nothing."
        )
    if rates is None:
        rates = usual_rates(training.optimizer)
    check_rates(rates)
    epochs, steps = training.epochs, training.steps
    probing, judge = split_for_probes(given, seed)
    check_training(model, probing, judge, training, task)
    if epochs < 1 or steps == 0:
        raise IsopruneError(
            f"epochs = {epochs}, steps = {steps}: a training without a step needs no rate. Give 1 or more."
        )
    total = epochs * given.steps
    total = total if steps is None else min(total, steps)
    length = min(max(round(share * total), LEAST_STEPS), total)
    known = {probe.lr: probe for probe in done if probe.steps == length}
    metric, higher = task.judged_by

    def reached(lr: float) -> float:
        if lr not in known:
            value = loss = None
            began = time.perf_counter()
            short = replace(training, lr=lr, epochs=math.ceil(length / probing.steps), steps=length)
            with suppress(Diverged):
                generator = seeded(seed)
                row = fit(model, Data(probing, judge), short, task=task, distill=distill, generator=generator)
                last = row.history[-1]
                value, loss = last[f"validation_{metric}"], last.get("validation_loss")
            known[lr] = Probe(lr, length, value, loss, time.perf_counter() - began)
            on_probe(known[lr])
        return score_of(known[lr].metric_value, higher)

    rise = TOLERANCE * min(share / SHARE, 1.0)
    middle = rates[len(rates) // 2]
    probes = tuple(known[lr] for lr in climb(rates, reached, rise)) if share else ()
    chance = None
    if task.name == CLASSIFICATION.name and judge.targets is not None:
        chance = judge.targets.bincount().max().item() / len(judge)
    return Advice(
        lr=best_rate(probes, higher, middle=middle, rise=rise) if probes else middle,
        rates=tuple(rates),
        probes=probes,
        steps=total,
        judge_samples=len(judge),
        metric_before=evaluate(model, judge, task=task)[metric],
        chance=chance,
        cost=len(probes) * length / (len(rates) * total),
        metric=metric,
        higher_is_better=higher,
    )


def probes_digest(
    model: nn.Module, given: Batching, training: Training, *, task: Task, distill: Distill | None, seed: int
) -> str:
    """Return a digest of all that a probe depends on but its rate and its steps; arguments of `advise_on`."""
    settings = {"held out": [JUDGED, MOST_JUDGED], "training": value_digest(replace(training, lr=0.0))}
    settings |= task.digests()
    if distill is not None:
        settings["distill"] = [distill.weight, distill.temperature, digest(distill.teacher.state_dict())]
    return value_digest(fingerprint(model, Data(given, None), seeded(seed), settings))


def usual_rates(optimizer: OptimizerChoice) -> tuple[float, ...]:
    """Return the rates to choose from where none are given."""
    return RATES if optimizer == "sgd" else ADAPTIVE_RATES


def split_for_probes(train: Batching, seed: int) -> tuple[Batching, Batching]:
    """Return what is left of the training data, and the tenth on which probes are judged.

    Raises:
        IsopruneError: If single samples cannot be taken out of it.
    """
    if not train.resumable:
        raise IsopruneError(
            "Advice on the learning rate holds out a part of the training data, and a loader without places "
            "of its samples does not let it. Give a map-style Dataset, or a rate: lr=0.01."
        )
    judging = min(max(round(JUDGED * len(train)), 1), MOST_JUDGED)
    # A last batch of one sample, which BatchNorm cannot be trained on: the training itself may have none.
    judging += train.batch > 1 and (len(train) - judging) % train.batch == 1
    order = torch.randperm(len(train), generator=seeded(seed))
    return train.part(order[judging:]), train.part(order[:judging])
