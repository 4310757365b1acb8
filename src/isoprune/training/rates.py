"""The rule that advises a learning rate from probes of several, and the fallback where it diverges."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from isoprune.training.diverged import Diverged
from isoprune.training.settings import Trained
from isoprune.types import IsopruneError
from isoprune.types.shown import screenful, shown

# A probe that ends within this of the best one's accuracy counts as good as it, and the largest rate of
# these is advised: what a rate costs shows early, what it brings shows late (docs/advice.md). Of a number of
# which less is better, such as a loss, it is this fraction of the number.
TOLERANCE = 0.02
# A training that ends so far below the probe of its rate, which had a fraction of its steps, has broken down.
BROKEN = 0.05


@dataclass(frozen=True)
class Probe:
    """A short training at one rate, and what it reached on held-out training samples.

    ``metric_value`` is of what the task is judged by, as of a classification its accuracy, and None if the
    training diverged, as ``loss`` is. ``seconds`` is what it took.
    """

    lr: float
    steps: int
    metric_value: float | None
    loss: float | None
    seconds: float = field(default=0.0, compare=False)


@shown
@dataclass(frozen=True, repr=False)
class Advice:
    """A rate and the probes behind it.

    ``rates`` were to choose from. ``metric`` is what the task is judged by, ``metric_before`` its value
    before any step, ``chance`` that of the most frequent class, None without labels, both on as many held-out
    samples as ``judge_samples`` says. ``steps`` are those of the training that is advised on, ``cost`` is
    what the probes took over what trainings of full length at all rates would take.
    """

    lr: float
    rates: tuple[float, ...]
    probes: tuple[Probe, ...]
    steps: int
    judge_samples: int
    metric_before: float
    chance: float | None
    cost: float
    metric: str = "accuracy"
    higher_is_better: bool = True

    def __str__(self) -> str:
        ends = ["diverged" if p.metric_value is None else f"{p.metric_value:.4g}" for p in self.probes]
        rows = [f"{p.lr:g}  {e} after {p.steps} steps" for p, e in zip(self.probes, ends, strict=True)]
        head = f"Advice: lr = {self.lr:g}, of {len(self.probes)} rates probed ({self.metric})"
        return screenful(head, rows, "advice.probes")

    @property
    def learns(self) -> bool:
        """Whether the network learned anything at the advised rate within its probe.

        Where nothing was probed, whether it knows anything before any step.
        """
        best = next((p.metric_value for p in self.probes if p.lr == self.lr), self.metric_before)
        if self.chance is None:
            before = score_of(self.metric_before, self.higher_is_better)
            return not self.probes or score_of(best, self.higher_is_better) > before + TOLERANCE
        return above_chance(best or 0.0, self.chance, self.judge_samples)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON, for a record."""
        return {**asdict(self), "learns": self.learns}


def above_chance(accuracy: float, chance: float, samples: int) -> bool:
    """Whether an accuracy on so many samples is above chance by two standard errors of a frequency."""
    return accuracy > chance + 2 * math.sqrt(chance * (1 - chance) / samples)


def score_of(value: float | None, higher_is_better: bool) -> float:
    """Return the score that `TOLERANCE` applies to: a metric, or minus the logarithm of one to minimise."""
    if value is None:
        return -math.inf
    if higher_is_better:
        return value
    return -math.log(value) if value > 0 else math.inf


def check_rates(rates: Sequence[float]) -> None:
    """Raise IsopruneError unless there are rates to probe, and they ascend."""
    if not rates or any(not 0 < lr < math.inf for lr in rates) or list(rates) != sorted(set(rates)):
        raise IsopruneError(f"rates = {list(rates)}: give one or more, above 0, each larger than the last.")


def climb(rates: Sequence[float], reached: Callable[[float], float], rise: float = TOLERANCE) -> list[float]:
    """Return the rates that had to be tried, ascending: from the middle one up, else down.

    ``reached`` gives the score of a rate, minus infinity if it diverged; ``rise`` as in `best_rate`.
    """
    middle = len(rates) // 2
    tried = {rates[middle]: reached(rates[middle])}
    for lr in rates[middle + 1 :] if tried[rates[middle]] > -math.inf else ():
        tried[lr] = reached(lr)
        if tried[lr] < max(tried.values()) - rise:
            break
    for lr in reversed(rates[:middle]):
        if max(tried.values()) > -math.inf and _largest(tried, rates[middle], rise) > min(tried):
            # The smallest so far is not the one to beat.
            break
        tried[lr] = reached(lr)
    return sorted(tried)


def best_rate(
    probes: Sequence[Probe], higher_is_better: bool = True, *, middle: float = 0.0, rise: float = TOLERANCE
) -> float:
    """Return the largest rate whose probe is as good as the best.

    Args:
        middle: The rate where probing began.
        rise: How far below the best a larger rate than ``middle`` may end; others may by `TOLERANCE`. Short
            probes differ by less, and there a rate that is too large hides within it.

    Raises:
        IsopruneError: If every probe diverged.
    """
    values = ((p.lr, p.metric_value) for p in probes if p.metric_value is not None)
    ended = {lr: score_of(value, higher_is_better) for lr, value in values}
    if not ended:
        raise IsopruneError(
            f"Training diverges at every rate from {probes[0].lr:g} to {probes[-1].lr:g}. Look at the "
            "network's weights and inputs for NaN and large values, repair it, or give smaller rates."
        )
    return _largest(ended, middle, rise)


def _largest(scores: Mapping[float, float], middle: float, rise: float) -> float:
    best = max(scores.values())
    return max(lr for lr, s in scores.items() if s >= best - (rise if lr > middle else TOLERANCE))


def at_or_below(
    advice: Mapping[str, Any], train: Callable[[float], Trained]
) -> tuple[float, Trained, list[float]]:
    """Return the advised rate or the next lower one that trains well, its training, and those given up.

    A rate at which the training diverges, or ends below its own probe or where it began, is given up for
    the next lower one. A network may remember the training samples that probes were judged on, as one does
    that was repaired: by as much as it was better on them than on validation data before any step, probes
    may be better too.

    Args:
        advice: Of `advise`, as plain data.
        train: Trains at a rate.

    Raises:
        Diverged: If it diverges at the lowest rate too.
    """
    higher = advice["higher_is_better"]
    # A rate that was not probed, or whose probe diverged, has nothing to stay below.
    reached = dict.fromkeys(advice["rates"], -math.inf)
    reached |= {p["lr"]: score_of(p["metric_value"], higher) for p in advice["probes"]}
    *larger, lowest = sorted((lr for lr in reached if lr <= advice["lr"]), reverse=True)
    given_up: list[float] = []
    for lr in larger:
        with suppress(Diverged):
            trained = train(lr)
            key = f"validation_{advice['metric']}"
            began, ended = (trained.history[row].get(key) for row in (0, -1))
            if ended is None:
                return lr, trained, given_up
            before, began = score_of(advice["metric_before"], higher), score_of(began, higher)
            remembered = before - began if before > began else 0.0
            if score_of(ended, higher) >= max(reached[lr] - remembered, began) - BROKEN:
                return lr, trained, given_up
        given_up.append(lr)
    return lowest, train(lowest), given_up
