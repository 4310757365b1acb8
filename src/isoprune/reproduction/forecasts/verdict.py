"""What each measure says of the accuracy after retraining: Kendall's tau, alone and beyond what is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from isoprune.comparison.statistics import holm
from isoprune.comparison.tau import DRAWS, Tau, tau_within
from isoprune.forecast.columns import MeasureCosts, columns_of, measured_keys
from isoprune.forecast.rows import at_best_rate, at_fixed_rate

CELL = ("family", "data", "grain", "ratio")  # networks are compared where these are the same
RATES = {"best": at_best_rate, "fixed": at_fixed_rate}
SIZE, BEFORE = "parameters_left", "before_accuracy"  # what an engineer knows anyway
KNOWN_ANYWAY = "known"  # stands in the place of a measure
_PLAIN = (SIZE, "flops_left", BEFORE)  # columns that are no measure's
_SAME = {"accuracy": BEFORE, "flops_left": SIZE}  # numbers that are another measurement of one of these


@dataclass(frozen=True)
class RetrainingOutcome:
    """Of which retraining: its budget, and whether at the best of the rates or at the fixed one."""

    budget: str
    rate: str

    def __str__(self) -> str:
        return f"{self.budget} budget, {self.rate} rate"


@dataclass(frozen=True)
class MeasureVerdict:
    """How one number orders networks by the accuracy that they reach.

    ``within`` and ``overall`` are tau within cells and over all, by outcome; ``beyond`` is what it adds,
    within cells, to size and accuracy before retraining. The p of ``within`` and ``beyond`` are corrected for
    the number of numbers (Holm). ``cost``: of its measure, as a part of a retraining of the longest budget.
    """

    key: str
    measure: str
    cost: float
    within: Mapping[RetrainingOutcome, Tau]
    overall: Mapping[RetrainingOutcome, Tau]
    beyond: Mapping[RetrainingOutcome, Tau]


def outcomes(rows: pl.DataFrame) -> dict[RetrainingOutcome, pl.DataFrame]:
    """Return one row a network for each outcome; the longest budget first, at the best rate."""
    order = rows.group_by("budget").agg(pl.col("samples").mean()).sort("samples", descending=True)
    return {
        RetrainingOutcome(budget, rate): at(rows).filter(pl.col("budget") == budget)
        for budget in order["budget"]
        for rate, at in RATES.items()
    }


def judge_measures(
    rows: pl.DataFrame, measure_of: Mapping[str, str], *, draws: int = DRAWS
) -> list[MeasureVerdict]:
    """Return the verdict on every number, the one that orders best within cells first.

    Args:
        rows: Of the study, one a retraining.
        measure_of: Which measure gives each number.
    """
    made, costs = outcomes(rows), MeasureCosts(at_best_rate(rows))
    keys = [*_PLAIN, *measured_keys(rows)]
    found = []
    for key in keys:
        taus = {outcome: _taus(frame, key, draws) for outcome, frame in made.items()}
        measure = measure_of.get(key, KNOWN_ANYWAY if key in _PLAIN else "own")
        cost = 0.0 if measure == KNOWN_ANYWAY else costs.of([measure])
        found.append(
            MeasureVerdict(key, measure, cost, *({o: t[i] for o, t in taus.items()} for i in range(3)))
        )
    for part in ("within", "beyond"):
        found = _corrected(found, part, list(made))
    first = next(iter(made))
    return sorted(found, key=lambda j: -abs(_or_zero(j.within[first].value)))


def _taus(frame: pl.DataFrame, key: str, draws: int) -> tuple[Tau, Tau, Tau]:
    """Return tau of a number within cells, over all, and within cells beyond what is known."""
    values = frame[key].to_numpy() if key in _PLAIN else columns_of(frame, [key])[key]
    reached, networks = frame["accuracy"].to_numpy(), frame["network"].to_list()
    cells = list(zip(*(frame[name].to_list() for name in CELL), strict=True))
    known = [frame[name].to_numpy() for name in (SIZE, BEFORE) if name != _SAME.get(key, key)]
    return (
        tau_within(values, reached, cells=cells, networks=networks, draws=draws),
        tau_within(values, reached, networks=networks, draws=draws),
        tau_within(values, reached, cells=cells, networks=networks, beyond=known, draws=draws),
    )


def _corrected(
    judged: Sequence[MeasureVerdict], part: str, made: Sequence[RetrainingOutcome]
) -> list[MeasureVerdict]:
    taus = [dict(getattr(one, part)) for one in judged]
    for outcome in made:
        corrected = holm([own[outcome].p for own in taus])
        for own, p in zip(taus, corrected, strict=True):
            own[outcome] = replace(own[outcome], p=p)
    return [replace(one, **{part: own}) for one, own in zip(judged, taus, strict=True)]


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value
