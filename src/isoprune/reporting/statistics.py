"""Statistics over seeds: mean, standard deviation, Student-t interval, differences paired by seed."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """What n seeds say of one quantity. ``std`` and ``half`` are NaN for fewer than two seeds."""

    n: int
    mean: float
    std: float
    half: float
    low: float
    high: float

    @property
    def interval(self) -> tuple[float, float]:
        """Both ends of the confidence interval of the mean."""
        return self.mean - self.half, self.mean + self.half

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval leaves zero out; False without an interval."""
        return abs(self.mean) > self.half


def summarize(values: Iterable[float | int], *, confidence: float = CONFIDENCE) -> Summary:
    r"""Return the mean, the spread and the Student-t interval of ``values``.

    :math:`s^2 = \frac{1}{n-1}\sum (x_i - \bar x)^2`, and the interval of the mean is
    :math:`\bar x \pm t_{n-1,(1+c)/2}\, s / \sqrt n`. Values that are not finite are left out and not
    counted; one value has no spread (NaN), none has no mean either.
    """
    x = np.array([value for value in values if math.isfinite(value)], dtype=np.float64)
    n = len(x)
    if n == 0:
        return Summary(0, math.nan, math.nan, math.nan, math.nan, math.nan)
    mean = float(x.mean())
    std = float(x.std(ddof=1)) if n > 1 else math.nan
    half = _quantile(confidence, n - 1) * std / math.sqrt(n) if n > 1 else math.nan
    return Summary(n, mean, std, half, float(x.min()), float(x.max()))


@functools.cache
def _quantile(confidence: float, freedom: int) -> float:
    # SciPy takes 0.2 ms for one; a page asks for thousands of the same.
    return float(stats.t.ppf((1 + confidence) / 2, freedom))


def paired_difference(
    first: Mapping[int, float], second: Mapping[int, float], *, confidence: float = CONFIDENCE
) -> Summary:
    """Return the summary of ``first - second`` over the seeds that both have.

    Runs of one seed share the dense network, so its luck cancels in the difference: the paired
    interval is the honest one, and mostly the narrower one.
    """
    both = sorted(first.keys() & second.keys())
    return summarize((first[seed] - second[seed] for seed in both), confidence=confidence)


def pool_histograms(
    histograms: Iterable[tuple[Sequence[float | int], Sequence[float | int]]],
) -> tuple[list[float], list[float]]:
    """Return the edges and the shares (they sum to one) of several histograms taken together.

    Histograms on the same edges are added. Otherwise each is spread over an even grid from the
    lowest to the highest edge, its mass even within a bin, which keeps every histogram's total.
    """
    given = [(np.asarray(e, np.float64), np.asarray(c, np.float64)) for e, c in histograms]
    given = [(edges, counts) for edges, counts in given if counts.sum() > 0]
    if not given:
        return [], []
    edges = given[0][0]
    if not all(np.array_equal(edges, other) for other, _ in given):
        low, high = min(e[0] for e, _ in given), max(e[-1] for e, _ in given)
        edges = np.linspace(low, high, len(edges))
    total = np.zeros(len(edges) - 1)
    for own, counts in given:
        below = np.concatenate([[0.0], np.cumsum(counts)])
        total += counts if np.array_equal(own, edges) else np.diff(np.interp(edges, own, below))
    return edges.tolist(), (total / total.sum()).tolist()
