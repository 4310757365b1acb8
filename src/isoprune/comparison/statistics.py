"""Statistics over seeds: mean, spread, Student-t interval, differences paired by seed, and their p-values."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
# Differences of accuracies are exact to about 1e-16; a spread so small against them is rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Summary:
    """What n seeds say of one quantity. ``std`` is NaN for fewer than two seeds."""

    n: int
    mean: float
    std: float
    low: float
    high: float
    confidence: float = CONFIDENCE

    @property
    def half(self) -> float:
        """Half the width of the confidence interval of the mean.

        NaN for fewer than two seeds, or values that are all equal up to rounding. Their spread would say that
        more seeds could change nothing, which a few equal counts of a small test set do not show.
        """
        if self.n < 2 or self.std <= _ROUNDING * max(abs(self.low), abs(self.high)):
            return math.nan
        return _quantile(self.confidence, self.n - 1) * self.std / math.sqrt(self.n)

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
        return Summary(0, math.nan, math.nan, math.nan, math.nan, confidence)
    mean = float(x.mean())
    std = float(x.std(ddof=1)) if n > 1 else math.nan
    return Summary(n, mean, std, float(x.min()), float(x.max()), confidence)


@functools.cache
def _quantile(confidence: float, freedom: int) -> float:
    from scipy import special  # Loaded when asked: a table of standard deviations need not wait for it.

    return float(special.stdtrit(freedom, (1 + confidence) / 2))


def paired_difference(first: Mapping[int, float], second: Mapping[int, float]) -> Summary:
    """Return the summary of ``first - second`` over the seeds that both have.

    Runs of one seed share the dense network, so its luck cancels in the difference: the paired
    interval is the honest one, and mostly the narrower one.
    """
    both = sorted(first.keys() & second.keys())
    return summarize(first[seed] - second[seed] for seed in both)


def p_value(difference: Summary) -> float:
    r"""Return the two-sided p-value of the paired t-test that the mean difference is zero.

    :math:`P(|T_{n-1}| \geq |\bar d| \sqrt n / s)`. NaN where there is no interval: see `Summary.half`.
    """
    if math.isnan(difference.half):
        return math.nan
    from scipy import special

    t = difference.mean * math.sqrt(difference.n) / difference.std
    return float(2 * special.stdtr(difference.n - 1, -abs(t)))


def holm(p_values: Sequence[float]) -> list[float]:
    r"""Return the p-values corrected for their number, in their order.

    With :math:`p_{(1)} \leq \ldots \leq p_{(m)}`, the i-th becomes
    :math:`\max_{j \leq i} \min(1, (m - j + 1)\, p_{(j)})`. Those below alpha are then wrong in even one case
    with probability at most alpha, whatever depends on what: Holm, 1979. NaN is no test: it stays, and is
    not counted.
    """
    tested = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    corrected = [math.nan] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        corrected[i] = largest
    return corrected


def pair_signs(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the sign of every value less every other one, [values, values]."""
    # By comparison, not by differences: infinity less infinity is none.
    return np.greater.outer(values, values) * 1.0 - np.less.outer(values, values)


def kendall_tau(x: Sequence[float], y: Sequence[float]) -> float:
    r"""Return Kendall's :math:`\tau_b`: 1 where two lists are in the same order, -1 in the opposite.

    :math:`\sum_{i<j} \mathrm{sign}(x_i - x_j)\, \mathrm{sign}(y_i - y_j)` over the root of the numbers of
    pairs that x, and that y, tells apart. NaN where one of them tells none apart.
    """
    a, b = (pair_signs(np.asarray(v)) for v in (x, y))
    untied = math.sqrt(float(np.abs(a).sum() * np.abs(b).sum()))
    return float((a * b).sum()) / untied if untied else math.nan
