"""Rows of a study -> a fitted forecast, its intervals and its limits from groups that were left out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from isoprune.forecast.columns import DENSE, KNOWN, MeasureCosts, columns, columns_of, measured_keys
from isoprune.forecast.fitted import FURTHEST, Column, Fitted, Numbers, squashed, unsquashed
from isoprune.forecast.rows import POINTS
from isoprune.types.errors import IsopruneError

PERCENTS = ("80", "95")
AFFORDABLE = 0.05  # of a retraining of the longest budget: the most that all measures may take
NEAR = 0.95  # of the networks that were left out, how many are near enough to be forecast


@dataclass(frozen=True)
class FitOptions:
    """Which numbers and groups a forecast is fitted with.

    Attributes:
        measure_of: Which measure gives each number.
        keys: The measured numbers that are taken. None: all of the cheapest measures.
        base: Numbers that are taken besides.
        group: The column whose values are left out one at a time: "family", or "ratio".
        most: Of a retraining's cost, what the cheapest measures may take together.
    """

    measure_of: Mapping[str, str]
    keys: Sequence[str] | None = None
    base: Sequence[str] = KNOWN
    group: str = "family"
    most: float = AFFORDABLE


def fit(rows: pl.DataFrame, options: FitOptions, *, digest: str = "") -> Fitted:
    """Return the forecast fitted on rows, one a network and budget, with intervals and limits.

    How strongly it shrinks is chosen by leaving out one group at a time. The intervals hold what the *whole
    procedure*, choice included, misses on the group that it has not seen, each group counted alike; so does
    the distance beyond which there is no forecast.

    Args:
        rows: From `at_best_rate`.
        digest: Of the file of rows.

    Raises:
        IsopruneError: If there are fewer than three groups: none is left to choose by and to judge by.
    """
    require_groups(rows, options)
    fitted = fit_alone(rows, options, digest=digest)
    missed, distances, weights = [], [], []
    for _, rest, out in left_out(rows, options.group):
        other = fit_alone(rest, options)
        numbers = columns_of(out, [f.key for f in other.features])
        reached = squashed(out[POINTS].to_numpy(), fitted.squash)
        missed.append(reached - squashed(other.points(numbers), fitted.squash))
        distances.append(other.distance(numbers))
        weights.append(np.full(len(out), 1 / len(out)))
    off, weight = np.concatenate(missed), np.concatenate(weights)
    ends = {p: (1 - int(p) / 100) / 2 for p in PERCENTS}
    intervals = {p: (quantile(off, weight, e), quantile(off, weight, 1 - e)) for p, e in ends.items()}
    furthest = quantile(np.concatenate(distances), weight, NEAR)
    return msgspec.structs.replace(fitted, intervals=intervals, furthest=furthest)


def fit_alone(rows: pl.DataFrame, options: FitOptions, *, digest: str = "") -> Fitted:
    """Return the fitted forecast without intervals or limits."""
    keys = affordable(rows, options) if options.keys is None else options.keys
    taken = [*options.base, *keys]
    numbers = columns_of(rows, dict.fromkeys([*taken, DENSE]))
    points = rows[POINTS].to_numpy()
    groups = rows[options.group].rank("dense").to_numpy().astype(np.int64)
    chosen = choose_ridge({key: numbers[key] for key in taken}, points, groups)
    # How hard the data are is no part of the forecast, but of what it was fitted on.
    made = columns(numbers, options.measure_of)
    at = [i for key in taken for i in made.at.get(key, ())]
    weights = np.zeros(made.matrix.shape[1])
    intercept, weights[at] = fit_ridge(made.matrix[:, at], squashed(points, chosen.squash), chosen.strength)
    features = []
    for feature in made.features:
        own = [float(weights[i]) for i in made.at[feature.key]]
        absent = own[1] if len(own) > 1 else None
        features.append(msgspec.structs.replace(feature, weight=own[0], absent=absent))
    return Fitted(
        rows=digest,
        networks=rows["network"].n_unique(),
        families=sorted(rows["family"].unique()),
        data=sorted(rows["data"].unique()),
        squash=chosen.squash,
        intercept=intercept,
        features=features,
        precision=_precision(made.features, numbers),
    )


def left_out(rows: pl.DataFrame, group: str) -> Iterable[tuple[Any, pl.DataFrame, pl.DataFrame]]:
    """Yield each value of a column with the rows of all others, and its own."""
    for value in rows[group].unique().sort():
        yield value, rows.filter(pl.col(group) != value), rows.filter(pl.col(group) == value)


def require_groups(rows: pl.DataFrame, options: FitOptions) -> None:
    if (n := rows[options.group].n_unique()) < 3:
        raise IsopruneError(
            f"The rows have {n} values of {options.group}: a forecast is judged by leaving out one, and "
            f"chosen by leaving out one of the others. Give rows of at least 3."
        )


def quantile(values: Column, weights: Column, level: float) -> float:
    """Return the least value that at least ``level`` of the weight does not exceed."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(np.searchsorted(below, level - 1e-12), len(values) - 1)])


def affordable(rows: pl.DataFrame, options: FitOptions) -> list[str]:
    """Return the numbers of the cheapest measures, as many as together cost what may be paid."""
    costs, taken = MeasureCosts(rows), set()
    for measure in sorted(set(options.measure_of.values()), key=lambda name: (costs.of([name]), name)):
        if costs.of([*taken, measure]) <= options.most and math.isfinite(costs.of([measure])):
            taken.add(measure)
    return [key for key in measured_keys(rows) if options.measure_of.get(key) in taken]


def _precision(features: Sequence[Any], numbers: Mapping[str, Column]) -> list[list[float]]:
    """Return the inverse covariance of the standardised numbers, shrunk towards the identity.

    A tenth of the way: numbers that say the same in all fitted networks (such as two sizes) would otherwise
    make every network unlike them in which they differ a little.
    """
    columns_of = [np.nan_to_num((numbers[f.key] - f.centre) / f.scale) for f in features]
    z = np.clip(np.stack(columns_of, axis=1), -FURTHEST, FURTHEST)
    spread: NDArray[np.float64] = np.atleast_2d(z.T @ z / len(z))
    return np.linalg.inv(0.9 * spread + 0.1 * np.eye(len(spread))).tolist()


# In rows. Numbers of a family that was not seen lie elsewhere, so more than the usual is offered.
STRENGTHS = (3.0, 30.0, 300.0)
SQUASHES = (None, 1.0)  # in points


@dataclass(frozen=True)
class Shrinkage:
    """How strongly a ridge shrinks, on which scale, and its mean error in points on groups left out."""

    strength: float
    squash: float | None
    error: float


def fit_ridge(X: NDArray[np.float64], y: Column, strength: float) -> tuple[float, NDArray[np.float64]]:
    r"""Return b and w that minimise :math:`\|y - b - X w\|^2 + \lambda \|w\|^2`: Hoerl & Kennard, 1970."""
    middle = X.mean(0)
    centred = X - middle
    gram = centred.T @ centred + strength * np.eye(X.shape[1])
    w = np.asarray(np.linalg.solve(gram, centred.T @ (y - y.mean())), dtype=np.float64)
    return float(y.mean() - middle @ w), w


def choose_ridge(numbers: Numbers, points: Column, groups: NDArray[np.int64]) -> Shrinkage:
    """Return the ridge with the least error on each group when it is left out.

    The error is the mean over groups of the mean absolute error in points: a large group counts as a small
    one. Numbers are not chosen: of a few families those that happen to be right for all but one are not those
    that are right for the next.
    """
    folds = []
    for group in np.unique(groups):
        out = groups == group
        made = columns({key: values[~out] for key, values in numbers.items()}, {})
        folds.append(
            (made.matrix, points[~out], made.of({k: v[out] for k, v in numbers.items()}), points[out])
        )

    def error(strength: float, squash: float | None) -> float:
        off = []
        for X, y, others, reached in folds:
            b, w = fit_ridge(X, squashed(y, squash), strength)
            off.append(np.abs(unsquashed(b + others @ w, squash) - reached).mean())
        return float(np.mean(off))

    tried = [
        Shrinkage(strength, squash, error(strength, squash)) for squash in SQUASHES for strength in STRENGTHS
    ]
    return min(tried, key=lambda one: one.error)
