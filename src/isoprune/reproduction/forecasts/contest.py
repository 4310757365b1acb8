"""The forecast beside simpler ones, on families and ratios that none of them has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from isoprune.comparison.tau import DRAWS
from isoprune.forecast.columns import DENSE, KNOWN, columns, columns_of, measured_keys
from isoprune.forecast.fitted import Column, squashed, unsquashed
from isoprune.forecast.fitting import FitOptions, affordable, left_out
from isoprune.forecast.rows import POINTS
from isoprune.reproduction.forecasts.cross_validation import (
    CrossValidation,
    Quality,
    cross_validate,
    quality_of,
)

OURS = "the forecast"
BUDGET = ("log_samples",)
# A number that is one forecast alone, beside the budget.
ALONE = {
    "accuracy before retraining": "accuracy",
    "mean JSV": "log_jsv_mean",
    "linear probe": "linear_probe_accuracy",
    "short retraining": "probe_accuracy",
}


@dataclass(frozen=True)
class Entry:
    """A way to forecast, on groups that were left out; ``whole``: None of trees, which have no intervals."""

    name: str
    quality: Quality
    whole: CrossValidation | None = None


def contestants(rows: pl.DataFrame, measure_of: Mapping[str, str]) -> dict[str, FitOptions]:
    """Return the options of each forecast, by name; the first is the one that isoprune comes with."""
    ours = FitOptions(measure_of)
    found = {OURS: ours, "the same at any cost": replace(ours, most=float("inf"))}
    there = set(measured_keys(rows))
    found |= {
        f"{name} alone": replace(ours, keys=(), base=(*BUDGET, key))
        for name, key in ALONE.items()
        if key in there
    }
    return {
        **found,
        "size alone": replace(ours, keys=(), base=KNOWN),
        "the budget alone": replace(ours, keys=(), base=BUDGET),
    }


def contest(
    rows: pl.DataFrame, measure_of: Mapping[str, str], group: str = "family", *, draws: int = DRAWS
) -> list[Entry]:
    """Return every forecast on groups that it has not seen, ours first.

    Args:
        rows: From `at_best_rate`.
        group: "family" or "ratio".
    """
    entries = []
    for name, options in contestants(rows, measure_of).items():
        whole = cross_validate(rows, replace(options, group=group), draws=draws)
        entries.append(Entry(name, whole.quality, whole))
    parts = [
        out.with_columns(forecast=by_trees(rest, out, FitOptions(measure_of)), group=pl.lit(str(value)))
        for value, rest, out in left_out(rows, group)
    ]
    frame = pl.concat(parts)
    return [
        *entries[:1],
        Entry("trees, at our cost", quality_of(frame, draws)),
        *entries[1:],
    ]


_SQUASH = 1.0  # trees put a network among its like, whose losses are then of one size


def by_trees(rows: pl.DataFrame, others: pl.DataFrame, options: FitOptions) -> Column:
    """Return the forecast points of ``others`` by randomised trees (Geurts et al., 2006) fitted on ``rows``.

    They take the numbers that the ridge takes, and the dense network's accuracy.
    """
    from sklearn.ensemble import ExtraTreesRegressor  # loads for a second

    wanted = [*options.base, DENSE, *affordable(rows, options)]
    made = columns(columns_of(rows, wanted), options.measure_of)
    trees = ExtraTreesRegressor(200, max_depth=8, min_samples_leaf=2, random_state=0)
    trees.fit(made.matrix, squashed(rows[POINTS].to_numpy(), _SQUASH))
    return unsquashed(np.asarray(trees.predict(made.of(columns_of(others, wanted)))), _SQUASH)
