"""The measured numbers of many networks as columns: their names, costs and scales."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from isoprune.forecast.fitted import FURTHEST, Feature, Numbers
from isoprune.forecast.rows import MEASURED, SECONDS

_QUARTILES = 1.349  # distance of the quartiles of a standard normal distribution


def measured_keys(rows: pl.DataFrame) -> list[str]:
    """Return the names of the numbers that were measured, without those that are known anyway."""
    keys = [name.removeprefix(MEASURED) for name in rows.columns if name.startswith(MEASURED)]
    return [key for key in keys if f"log_{key}" not in KNOWN]


def columns_of(rows: pl.DataFrame, keys: Iterable[str]) -> Numbers:
    """Return the numbers of every row, NaN where one is missing or not finite."""
    found = {}
    for key in keys:
        if key in KNOWN:
            values = rows[key.removeprefix("log_")].log10().to_numpy()
        else:
            name = key if key == DENSE else f"{MEASURED}{key}"
            values = rows[name].cast(pl.Float64).fill_null(math.nan).to_numpy()
        found[key] = np.where(np.isfinite(values), values, math.nan)
    return found


class MeasureCosts:
    """The cost of measures, as a share of a retraining of the longest budget."""

    def __init__(self, rows: pl.DataFrame) -> None:
        longest = rows.filter(pl.col("samples") == pl.col("samples").max().over("family", "data"))
        whole = longest["seconds"].to_numpy()
        names = [name for name in rows.columns if name.startswith(SECONDS)]
        self.parts = {n.removeprefix(SECONDS): longest[n].fill_null(0.0).to_numpy() / whole for n in names}

    def of(self, measures: Iterable[str]) -> float:
        """Return the median over networks; of one without its seconds, infinity."""
        taken = [self.parts.get(measure, math.inf) for measure in measures if measure]
        return float(np.median(np.sum(np.broadcast_arrays(*taken), axis=0))) if taken else 0.0


@dataclass(frozen=True)
class Columns:
    """Numbers of rows as columns of a regression: standardised, with one more where one may be missing.

    ``at`` says which columns of ``matrix`` belong to a key.
    """

    features: tuple[Feature, ...]
    matrix: NDArray[np.float64]
    at: Mapping[str, Sequence[int]]

    def of(self, numbers: Numbers) -> NDArray[np.float64]:
        """Return the columns [rows, columns] of other rows."""
        return _matrix(self.features, numbers)


def columns(numbers: Numbers, measure_of: Mapping[str, str]) -> Columns:
    """Return the columns of ``numbers``; those equal in all rows, or missing in most, are left out."""
    features = []
    for key, values in numbers.items():
        there = values[np.isfinite(values)]
        if 2 * len(there) <= len(values) or there.min() == there.max():
            continue
        low, centre, high = np.quantile(there, [0.25, 0.5, 0.75])
        # More than half of all may be equal, such as no dead units: their quartiles are then one number.
        scale = (high - low) / _QUARTILES or there.std()
        absent = 0.0 if len(there) < len(values) else None
        features.append(
            Feature(
                key,
                measure_of.get(key, ""),
                float(centre),
                float(scale),
                float(there.min()),
                float(there.max()),
                absent=absent,
            )
        )
    at: dict[str, list[int]] = {}
    count = 0
    for feature in features:
        width = 1 if feature.absent is None else 2
        at[feature.key] = list(range(count, count + width))
        count += width
    return Columns(tuple(features), _matrix(features, numbers), at)


def _matrix(features: Sequence[Feature], numbers: Numbers) -> NDArray[np.float64]:
    made = []
    for feature in features:
        z = (numbers[feature.key] - feature.centre) / feature.scale
        made.append(np.nan_to_num(np.clip(z, -FURTHEST, FURTHEST)))
        if feature.absent is not None:
            made.append(np.isnan(z) * 1.0)
    rows = len(next(iter(numbers.values())))
    return np.stack(made, axis=1) if made else np.zeros((rows, 0))


# Of what is left of it, fractions of 1, and of how many samples it will be retrained on: to base ten.
KNOWN = ("log_parameters_left", "log_flops_left", "log_samples")
DENSE = "dense_accuracy"  # says how hard the data are


def known(parameters_left: float, flops_left: float, samples: float, dense_accuracy: float) -> Numbers:
    """Return the numbers of one network that need no measure."""
    logs = [math.log10(value) if value > 0 else math.nan for value in (parameters_left, flops_left, samples)]
    return {
        key: np.array([value]) for key, value in zip((*KNOWN, DENSE), (*logs, dense_accuracy), strict=True)
    }
