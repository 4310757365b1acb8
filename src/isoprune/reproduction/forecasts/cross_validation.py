"""A forecast on groups of networks that it has not seen: its error, its order, its intervals, its cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from isoprune.comparison.statistics import Summary, summarize
from isoprune.comparison.tau import DRAWS, Tau, tau_within
from isoprune.forecast import Judged
from isoprune.forecast.columns import MeasureCosts, columns_of
from isoprune.forecast.fitting import PERCENTS, FitOptions, fit, left_out
from isoprune.forecast.rows import POINTS


@dataclass(frozen=True)
class Quality:
    """How near forecasts are to what was reached.

    Attributes:
        error: Of absolute errors in points, a mean of each network's; its interval is over networks.
        longest: The same of the longest budget alone.
        median: Half of all absolute errors are smaller.
        tau: Between forecast and reached accuracy, of one group, data and budget.
    """

    error: Summary
    longest: Summary
    median: float
    tau: Tau


@dataclass(frozen=True)
class CrossValidation:
    """The result over all groups, each forecast by a fit of the others.

    Attributes:
        coverage: Percent -> part of the retrainings that the interval held.
        refused: Part of the retrainings that would have had no forecast: too unlike; they count all the same.
        cost: Median part of a retraining of the longest budget, of the dearest of the fits.
        groups: Value -> its quality, and its part within the first interval.
        measures: That the fits took, the most frequent first.
    """

    quality: Quality
    coverage: Mapping[str, float]
    refused: float
    cost: float
    groups: Mapping[str, tuple[Quality, float]]
    measures: tuple[str, ...]

    @property
    def judged(self) -> Judged:
        """The summary that goes into the file of the fitted forecast."""
        return Judged(self.quality.error.mean, self.quality.tau.value, self.cost, dict(self.coverage))


def cross_validate(rows: pl.DataFrame, options: FitOptions, *, draws: int = DRAWS) -> CrossValidation:
    """Return how good a forecast is on each group of ``options`` when it is fitted on all the others.

    The fit chooses its numbers anew each time, and takes its intervals from groups that it leaves out itself,
    so nothing of a group is known where it is forecast.

    Args:
        rows: One a network and budget: from `at_best_rate`.

    Raises:
        IsopruneError: If there are fewer than four groups.
    """
    parts, costs, measures = [], [], []
    for value, rest, out in left_out(rows, options.group):
        fitted = fit(rest, options)
        numbers = columns_of(out, [feature.key for feature in fitted.features])
        points = fitted.points(numbers)
        inside = {}
        for percent in PERCENTS:
            low, high = fitted.interval(numbers, percent)
            reached = out[POINTS].to_numpy()
            inside[f"in{percent}"] = (low <= reached) & (reached <= high)
        far = fitted.distance(numbers) > fitted.furthest
        parts.append(out.with_columns(forecast=points, far=far, **inside, group=pl.lit(str(value))))
        costs.append(MeasureCosts(rows).of(fitted.measures))
        measures += fitted.measures
    frame = pl.concat(parts)
    often = sorted(dict.fromkeys(measures), key=lambda name: -measures.count(name))
    return CrossValidation(
        quality_of(frame, draws),
        coverage={percent: part_of(frame[f"in{percent}"]) for percent in PERCENTS},
        refused=part_of(frame["far"]),
        cost=max(costs),
        groups={
            str(own["group"][0]): (quality_of(own, draws), part_of(own[f"in{PERCENTS[0]}"]))
            for own in frame.partition_by("group", maintain_order=True)
        },
        measures=tuple(often),
    )


def quality_of(frame: pl.DataFrame, draws: int) -> Quality:
    """Return the quality of the column "forecast", in points below dense."""
    off = frame.with_columns(off=(pl.col("forecast") - pl.col(POINTS)).abs())
    longest = off.filter(pl.col("samples") == pl.col("samples").max().over("family", "data"))
    whole, long = (
        summarize(part.group_by("network", maintain_order=True).agg(pl.col("off").mean())["off"])
        for part in (off, longest)
    )
    return Quality(whole, long, float(np.median(off["off"].to_numpy())), order(frame, draws))


def part_of(true: pl.Series) -> float:
    return float(np.mean(true.to_numpy()))


def order(frame: pl.DataFrame, draws: int) -> Tau:
    """Return tau of the forecast accuracy with the one reached, within group, data and budget."""
    cells = list(zip(*(frame[name].to_list() for name in ("group", "data", "budget")), strict=True))
    forecast = frame["dense_accuracy"].to_numpy() - frame["forecast"].to_numpy() / 100
    reached, networks = frame["accuracy"].to_numpy(), frame["network"].to_list()
    return tau_within(np.asarray(forecast), reached, cells=cells, networks=networks, draws=draws)
