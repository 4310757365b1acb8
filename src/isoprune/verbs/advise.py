"""The learning rate that fits a network and a budget, by short trainings on training data only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Generator, nn

from isoprune.methods import schedules
from isoprune.training.checks import check_training
from isoprune.training.distill import Distill, read_distill
from isoprune.training.diverged import Diverged
from isoprune.training.evaluate import evaluate
from isoprune.training.fit import fit
from isoprune.training.loop import PLAIN, Loop
from isoprune.types import IsopruneError, Schedule, Splits
from isoprune.types.samples import Part

RATES = (0.003, 0.01, 0.03, 0.1, 0.3)
# Of the training that is advised on, for the probe of one rate. Shorter ones favour other rates than the
# training itself (docs/advice.md); most often three are run, which is 14 % of a grid of five.
SHARE = 0.24
# A probe that ends within this of the best one's accuracy counts as good as it, and the largest rate of
# these is advised: what a rate costs shows early, what it brings shows late (docs/advice.md).
TOLERANCE = 0.02
HELD = 0.1  # of the training samples, on which probes are judged
MOST_HELD = 2000
LEAST_STEPS = 8


@dataclass(frozen=True)
class Probe:
    """A short training at one rate; accuracy and loss on held-out training samples, None if it diverged."""

    lr: float
    steps: int
    accuracy: float | None
    loss: float | None


@dataclass(frozen=True)
class Advice:
    """A rate and the probes behind it.

    ``rates`` were to choose from. ``start`` is the accuracy before any step, ``chance`` that of the most
    frequent class, both on the ``held`` samples; ``steps`` are those of the training that is advised on,
    ``cost`` is what the probes took over what trainings of full length at all rates would take.
    """

    lr: float
    rates: tuple[float, ...]
    probes: tuple[Probe, ...]
    steps: int
    held: int
    start: float
    chance: float
    cost: float

    @property
    def learns(self) -> bool:
        """Whether the network learned anything at the advised rate within its probe."""
        best = next(p.accuracy for p in self.probes if p.lr == self.lr) or 0.0
        # Two standard errors of a frequency.
        return best > self.chance + 2 * math.sqrt(self.chance * (1 - self.chance) / self.held)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON, for a record."""
        return {**asdict(self), "learns": self.learns}


def advise(
    model: nn.Module,
    splits: Splits,
    *,
    epochs: int,
    schedule: str | Schedule = "one_cycle",
    steps: int | None = None,
    rates: Sequence[float] = RATES,
    batch: int = 100,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    loop: Loop = PLAIN,
    dense: nn.Module | None = None,
    distill: Distill | Mapping[str, float] | None = None,
    seed: int = 0,
    done: Sequence[Probe] = (),
    on_probe: Callable[[Probe], object] = lambda _: None,
) -> Advice:
    """Return the peak learning rate for a training of ``epochs`` (or ``steps``), and the probes behind it.

    At a rate the network is trained for `SHARE` of the steps, with the whole schedule run through in them, on
    nine tenths of the training data, and judged on the last tenth. The middle rate comes first, then larger
    ones as long as they end within `TOLERANCE` of the best one's accuracy; if none does, smaller ones as long
    as they gain more than that. Of the rates that end within `TOLERANCE` of the best, the largest is
    advised: a rate that is too large shows in few steps, one that is too small only in many. Validation and
    test data are not touched.

    Give what `retrain` will get; its ``lr`` is then ``advice.lr``.

    Args:
        model: Left as it is.
        splits: Only ``train`` is used: a tenth of it, 2000 samples at most, is held out.
        epochs: Of the training that is advised on.
        schedule: A name in ``schedules.SCHEDULES``, with the default options of that function, or a schedule.
        steps: At most so many in all. None: as many as ``epochs`` take.
        rates: The rates to choose from; ascending.
        batch: Samples per step; with ``momentum``, ``weight_decay`` and ``loop`` as in `fit`.
        dense: The network to learn from, with ``distill`` (weight and temperature).
        seed: Which samples are held out, and the order of the others.
        done: Probes of an interrupted call with these settings: they are not run again.
        on_probe: Called with each new probe.

    Cost: `SHARE` of one training for each probe, most often three.

    Raises:
        IsopruneError: If rates do not ascend, all diverge, or the settings do not fit together.
    """
    check_rates(rates)
    if isinstance(schedule, str):
        schedule = schedules.build(schedule, epochs=max(epochs, 1))
    distill = read_distill(distill)
    train = splits.train
    held = min(max(round(HELD * len(train)), 1), MOST_HELD)
    # A last batch of one sample, which BatchNorm cannot be trained on: the training itself may have none.
    held += batch > 1 and (len(train) - held) % batch == 1
    order = torch.randperm(len(train), generator=Generator().manual_seed(seed))
    judge = Part(train, order[:held])
    probing = Splits(Part(train, order[held:]), judge, judge, splits.classes)
    check_training(model, probing, epochs=epochs, lr=rates[-1], batch=batch, steps=steps)
    if epochs < 1 or steps == 0:
        raise IsopruneError(
            f"epochs = {epochs}, steps = {steps}: a training without a step needs no rate. Give 1 or more."
        )
    total = epochs * math.ceil(len(train) / batch)
    total = total if steps is None else min(total, steps)
    length = min(max(round(SHARE * total), LEAST_STEPS), total)
    known = {probe.lr: probe for probe in done if probe.steps == length}

    def reached(lr: float) -> float:
        if lr not in known:
            accuracy = loss = None
            with suppress(Diverged):
                _, history = fit(
                    model,
                    probing,
                    epochs=math.ceil(length / math.ceil(len(probing.train) / batch)),
                    lr=lr,
                    schedule=schedule,
                    batch=batch,
                    momentum=momentum,
                    weight_decay=weight_decay,
                    steps=length,
                    loop=loop,
                    teacher=dense,
                    distill=distill,
                    generator=Generator().manual_seed(seed),
                )
                accuracy, loss = history[-1]["validation_accuracy"], history[-1]["validation_loss"]
            known[lr] = Probe(lr, length, accuracy, loss)
            on_probe(known[lr])
        accuracy = known[lr].accuracy
        return -1.0 if accuracy is None else accuracy

    tried = climb(rates, reached)
    probes = tuple(known[lr] for lr in tried)
    counts = judge.targets.bincount(minlength=splits.classes)
    return Advice(
        lr=best_rate(probes),
        rates=tuple(rates),
        probes=probes,
        steps=total,
        held=held,
        start=evaluate(model, judge)["accuracy"],
        chance=counts.max().item() / held,
        cost=len(probes) * length / (len(rates) * total),
    )


def check_rates(rates: Sequence[float]) -> None:
    """Raise IsopruneError unless there are rates to probe, and they ascend."""
    if not rates or any(not 0 < lr < math.inf for lr in rates) or list(rates) != sorted(set(rates)):
        raise IsopruneError(f"rates = {list(rates)}: give one or more, above 0, each larger than the last.")


def climb(rates: Sequence[float], reached: Callable[[float], float]) -> list[float]:
    """Return the rates that had to be tried, ascending: from the middle one up, else down.

    ``reached`` gives the accuracy of a rate, -1 if it diverged.
    """
    middle = len(rates) // 2
    tried = {rates[middle]: reached(rates[middle])}
    for lr in rates[middle + 1 :] if tried[rates[middle]] >= 0 else ():
        tried[lr] = reached(lr)
        if tried[lr] < max(tried.values()) - TOLERANCE:
            break
    for lr in reversed(rates[:middle]):
        best = max(tried.values())
        largest = max((r for r, accuracy in tried.items() if accuracy >= best - TOLERANCE))
        if best >= 0 and largest > min(tried):  # the smallest so far is not the one to beat
            break
        tried[lr] = reached(lr)
    return sorted(tried)


def best_rate(probes: Sequence[Probe]) -> float:
    """Return the largest rate whose probe is as good as the best.

    Raises:
        IsopruneError: If every probe diverged.
    """
    ended = {p.lr: p.accuracy for p in probes if p.accuracy is not None}
    if not ended:
        raise IsopruneError(
            f"Training diverges at every rate from {probes[0].lr:g} to {probes[-1].lr:g}. Look at the "
            "network's weights and inputs for NaN and large values, repair it, or give smaller rates."
        )
    return max(lr for lr, accuracy in ended.items() if accuracy >= max(ended.values()) - TOLERANCE)
