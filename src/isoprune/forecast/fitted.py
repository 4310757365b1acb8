"""A fitted forecast as plain data: what accuracy a network will reach, in points below the dense network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from isoprune.types.errors import IsopruneError
from isoprune.types.files import read_file
from isoprune.types.json_files import sealed, unsealed

VERSION = 1
FITTED = Path(__file__).with_name("fitted.json")  # what `isoprune forecast` makes of the study's rows
FURTHEST = 4.0  # scales from the centre; what lies further counts as if it lay there
_REMEDY = "Make it again: isoprune forecast ROWS.csv --out FILE.json."
_DECIMALS = 9  # significant: the last bits of a sum depend on the machine

Column = NDArray[np.float64]  # one number a network; NaN where it is missing
Numbers = Mapping[str, Column]


class Feature(Struct, frozen=True, forbid_unknown_fields=True):
    """One number of a network, and what it does to the forecast.

    Attributes:
        key: Its name among the numbers of `isoprune.measures`, or one of `KNOWN`.
        measure: Which of `isoprune methods measure` gives it; "": it is known without measuring.
        centre, scale: Median, and the quartiles' distance over that of a standard normal distribution.
        low, high: The range of those that were fitted on.
        weight: Change of the forecast, squashed, for each scale above the centre.
        absent: The same where the number is not finite; None: it was finite in all that were fitted on.
    """

    key: str
    measure: str
    centre: float
    scale: float
    low: float
    high: float
    weight: float = 0.0
    absent: float | None = None

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"the scale of {self.key} is not above 0")


class Judged(Struct, frozen=True, forbid_unknown_fields=True):
    """How good the forecast was on families that it was not fitted on; points are of 100.

    ``cost`` is the median part of a retraining of the full budget that the measures take; ``coverage`` how
    many of the networks the stated intervals held.
    """

    error: float
    tau: float
    cost: float
    coverage: dict[str, float]


class Fitted(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    r"""A ridge regression of points below the dense network on standardised numbers.

    :math:`s^{-1}(b + \sum_k w_k z_k)`, with :math:`z_k` the number of a `Feature` from its centre, in
    scales, and s the identity or :math:`s(p) = \mathrm{asinh}(p / \mathrm{squash})`.

    Attributes:
        rows: SHA-256 of the rows of the study that it is fitted on.
        networks: How many those are.
        families: Of which kinds of network.
        squash: In points: losses far above it are forecast by their logarithm. None: not squashed.
        intervals: Percent -> what is added to a squashed forecast at both ends.
        precision: Inverse covariance [features, features] of z, which the distance is measured by.
        furthest: The distance beyond which there is no forecast.
    """

    version: int = VERSION
    rows: str
    networks: int
    families: list[str]
    data: list[str]
    squash: float | None
    intercept: float
    features: list[Feature]
    intervals: dict[str, tuple[float, float]] = {}
    precision: list[list[float]]
    furthest: float = float("inf")
    judged: Judged | None = None

    def __post_init__(self) -> None:
        size = len(self.features)
        if [len(row) for row in self.precision] != [size] * size:
            raise ValueError(f"the precision of {size} features is not {size} x {size}")

    @property
    def measures(self) -> list[str]:
        """The measures that it needs."""
        return list(dict.fromkeys(f.measure for f in self.features if f.measure and f.weight))

    def scaled(self, numbers: Numbers) -> NDArray[np.float64]:
        """Return z [networks, features]; NaN where a number is missing."""
        columns = [(numbers[f.key] - f.centre) / f.scale for f in self.features]
        return np.stack(columns, axis=1)

    def effects(self, numbers: Numbers) -> NDArray[np.float64]:
        """Return what each feature adds to the squashed forecast [networks, features]."""
        z = np.clip(self.scaled(numbers), -FURTHEST, FURTHEST)
        absent = np.array([f.absent or 0.0 for f in self.features])
        return np.where(np.isnan(z), absent, z * np.array([f.weight for f in self.features]))

    def squashed(self, numbers: Numbers) -> Column:
        return self.intercept + self.effects(numbers).sum(1)

    def points(self, numbers: Numbers) -> Column:
        """Return the forecast: points of accuracy below the dense network; negative above it."""
        return self.points_of(self.squashed(numbers))

    def interval(self, numbers: Numbers, percent: str) -> tuple[Column, Column]:
        """Return both ends of an interval of ``intervals``, in points below the dense network."""
        low, high = self.intervals[percent]
        middle = self.squashed(numbers)
        return self.points_of(middle + low), self.points_of(middle + high)

    def points_of(self, squashed: Column) -> Column:
        return unsquashed(squashed, self.squash)

    def distance(self, numbers: Numbers) -> Column:
        r"""Return how unlike the fitted networks each one is: :math:`\sqrt{z^\top P z / k}` of k features.

        About 1 for those that were fitted on. Missing numbers count as the centre.
        """
        z = np.nan_to_num(self.scaled(numbers))
        precision = np.array(self.precision)
        squares = np.einsum("ni,ij,nj->n", z, precision, z) / max(z.shape[1], 1)
        return np.sqrt(np.maximum(squares, 0.0))


def squashed(points: Column, squash: float | None) -> Column:
    return points if squash is None else np.arcsinh(points / squash)


def unsquashed(values: Column, squash: float | None) -> Column:
    # No network is more than a hundred points away from another.
    return np.clip(values if squash is None else squash * np.sinh(np.minimum(values, 30.0)), -100.0, 100.0)


def write_fitted(fitted: Fitted) -> bytes:
    """Return the file of a fitted forecast: JSON with its checksum, the same bytes of the same rows."""
    return sealed(_rounded(msgspec.to_builtins(fitted)))


def read_fitted(path: Path = FITTED) -> Fitted:
    """Return the fitted forecast in a file; by default the one that comes with isoprune.

    Raises:
        FileNotFoundError: If there is none.
        IsopruneError: If it is damaged, or of another version.
    """
    content = unsealed(read_file(path), path, _REMEDY)
    try:
        fitted = msgspec.json.decode(content, type=Fitted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        said = re.sub(r"\s+", " ", str(error))
        raise IsopruneError(f"{path} is not a fitted forecast ({said}). {_REMEDY}") from None
    if fitted.version != VERSION:
        raise IsopruneError(
            f"{path} is a forecast of version {fitted.version}; this isoprune reads {VERSION}. {_REMEDY}"
        )
    return fitted


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DECIMALS}g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list | tuple) else value
