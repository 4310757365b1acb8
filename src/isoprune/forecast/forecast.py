"""The forecast of one network: its accuracy after retraining, how sure that is, and what moves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isoprune.forecast.columns import DENSE, KNOWN, known
from isoprune.forecast.fitted import Feature, Fitted
from isoprune.types.sentences import sentences_of
from isoprune.types.shown import shown

_TEMPLATE = Path(__file__).parent / "template" / "forecast.txt.j2"
_NAMED = 3  # of what moves a forecast
_LEAST = 0.05  # points, below which nothing is said to move it
_WORDS: dict[str, str] = {
    KNOWN[0]: "parameters left", KNOWN[1]: "multiply-adds left", KNOWN[2]: "retraining samples",
    DENSE: "dense accuracy",
}  # fmt: skip


@dataclass(frozen=True)
class Move:
    """What one number does to a forecast: ``points`` that it adds to what is lost, against the median."""

    name: str
    value: float | None
    points: float


@shown
@dataclass(frozen=True, repr=False)
class Forecast:
    """The accuracy after retraining, in [0, 1], or why there is no forecast.

    Attributes:
        accuracy: What is expected of the best of a few learning rates; None: ``refused`` says why.
        intervals: Percent -> low and high accuracy.
        dense: The dense network's accuracy, on the same data.
        samples: Of the retraining: epochs times training samples.
        moves: What moves it, the most first.
        refused: Why there is none; "": there is.
        sentences: All of it in words.
        seconds: That measuring took.
    """

    accuracy: float | None
    intervals: Mapping[str, tuple[float, float]]
    dense: float | None
    samples: int
    moves: tuple[Move, ...]
    refused: str
    sentences: tuple[str, ...]
    seconds: float = 0.0

    def __str__(self) -> str:
        return "\n".join(self.sentences)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def no_forecast(reason: str, samples: int, *, dense: float | None = None, seconds: float = 0.0) -> Forecast:
    """Return a result without a forecast: one sentence says why."""
    return Forecast(None, {}, dense, samples, (), reason, (f"No forecast: {reason}",), seconds)


def forecast(
    fitted: Fitted,
    measured: Mapping[str, float | None],
    *,
    dense_accuracy: float,
    parameters_left: float,
    flops_left: float,
    samples: int,
    seconds: float = 0.0,
) -> Forecast:
    """Return the forecast of one network from its numbers, or why it is unlike all that were fitted on.

    Args:
        measured: By the names of `isoprune.measures`; None where a number is not finite.
        parameters_left, flops_left: Fractions of the dense network's.
        samples: Of the retraining: epochs times training samples.
    """
    numbers = dict(known(parameters_left, flops_left, samples, dense_accuracy))
    for feature in fitted.features:
        value = measured.get(feature.key)
        numbers.setdefault(feature.key, np.array([np.nan if value is None else value]))
    if reason := _unlike(fitted, {key: float(value[0]) for key, value in numbers.items()}, numbers):
        return no_forecast(reason, samples, dense=dense_accuracy, seconds=seconds)
    below = float(fitted.points(numbers)[0])
    ends = {p: fitted.interval(numbers, p) for p in fitted.intervals}
    # More points below are less accuracy.
    intervals = {
        p: (_reached(dense_accuracy, high[0]), _reached(dense_accuracy, low[0]))
        for p, (low, high) in ends.items()
    }
    moves = _moves(fitted, numbers)
    facts = {
        "accuracy": _reached(dense_accuracy, below),
        "below": below,
        "intervals": intervals,
        "dense": dense_accuracy,
        "samples": samples,
        "moves": moves[:_NAMED],
        "fitted": fitted,
    }
    sentences = tuple(sentences_of(_TEMPLATE, facts))
    return Forecast(facts["accuracy"], intervals, dense_accuracy, samples, moves, "", sentences, seconds)


def _reached(dense: float, points: float) -> float:
    return min(max(dense - float(points) / 100, 0.0), 1.0)


def _unlike(fitted: Fitted, values: Mapping[str, float], numbers: Mapping[str, Any]) -> str:
    """Return how a network is unlike those that were fitted on, in words; "" if it is not."""
    for feature in fitted.features:
        if np.isnan(values[feature.key]) and feature.weight and feature.absent is None:
            return f"{feature.key} is not finite here, as it was in all {fitted.networks} networks fitted on."
    distance = float(fitted.distance(numbers)[0])
    if distance <= fitted.furthest:
        return ""
    odd = max(fitted.features, key=lambda f: _outside(f, values[f.key]))
    return (
        f"this network is unlike the {fitted.networks} that the forecast was fitted on: its distance from "
        f"them is {distance:.3g}, and beyond {fitted.furthest:.3g} nothing was tested. Furthest off: "
        f"{word(odd.key)} is {_number(_shown(odd.key, values[odd.key]))}, theirs "
        f"{_number(_shown(odd.key, odd.low))} to {_number(_shown(odd.key, odd.high))}."
    )


def _outside(feature: Feature, value: float) -> tuple[float, float]:
    """Return how far a number lies outside the range of those fitted on, then from their centre."""
    if np.isnan(value):
        return (0.0, 0.0)
    beyond = max(feature.low - value, value - feature.high, 0.0)
    return beyond / feature.scale, abs(value - feature.centre) / feature.scale


def _moves(fitted: Fitted, numbers: Mapping[str, Any]) -> tuple[Move, ...]:
    middle, effects = fitted.squashed(numbers), fitted.effects(numbers)[0]
    whole = fitted.points_of(middle)
    moves = []
    for feature, effect in zip(fitted.features, effects, strict=True):
        points = float((whole - fitted.points_of(middle - effect))[0])
        if abs(points) >= _LEAST:
            value = _shown(feature.key, float(numbers[feature.key][0]))
            moves.append(Move(word(feature.key), None if np.isnan(value) else value, points))
    return tuple(sorted(moves, key=lambda move: -abs(move.points)))


def word(key: str) -> str:
    """Return how a number is called in a sentence."""
    return _WORDS.get(key, key)


def _shown(key: str, value: float) -> float:
    return 10**value if key in KNOWN else value


def _number(value: float) -> str:
    return (f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}").replace("-", "−")
