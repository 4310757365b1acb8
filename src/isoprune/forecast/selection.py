"""Which numbers a forecast is made of: chosen by the error on groups of networks that were left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isoprune.forecast.columns import Columns, columns
from isoprune.forecast.fitted import Column, Numbers, squashed, unsquashed

# A row's worth of shrinking, and a tenth of a hundred rows': numbers of a family that was not seen lie
# elsewhere, so more than the usual is offered.
STRENGTHS = (1.0, 10.0, 100.0)
SQUASHES = (None, 1.0)  # in points
MOST = 8  # measured numbers; more are not chosen in practice
GAIN = 0.01  # of the error, below which a number is not worth its place


@dataclass(frozen=True)
class Choice:
    """What a forecast is made of, and its mean error in points on groups that were left out."""

    keys: tuple[str, ...]
    strength: float
    squash: float | None
    error: float


class Fold:
    """One group left out: the regression of the others, for any choice, from sums that are taken once."""

    def __init__(self, numbers: Numbers, points: Column, out: NDArray[np.bool_]) -> None:
        self.columns: Columns = columns({k: v[~out] for k, v in numbers.items()}, {})
        self.out = self.columns.of({k: v[out] for k, v in numbers.items()})
        self.middle = self.columns.matrix.mean(0)
        self.centred = self.columns.matrix - self.middle
        self.gram = self.centred.T @ self.centred
        self.reached = points[out]
        self.targets = {squash: squashed(points[~out], squash) for squash in SQUASHES}
        self.moments = {s: self.centred.T @ (t - t.mean()) for s, t in self.targets.items()}

    def forecast(self, keys: Sequence[str], strength: float, squash: float | None) -> Column:
        """Return the points that the group's networks are forecast to lie below the dense ones."""
        at = [i for key in keys for i in self.columns.at.get(key, ())]
        weights = ridge(self.gram[np.ix_(at, at)], self.moments[squash][at], strength)
        middle = float(self.targets[squash].mean())
        return unsquashed(middle + (self.out[:, at] - self.middle[at]) @ weights, squash)


def ridge(gram: NDArray[np.float64], moment: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
    r"""Return :math:`(X^\top X + \lambda I)^{-1} X^\top y` from the two products: Hoerl & Kennard, 1970."""
    return np.asarray(np.linalg.solve(gram + strength * np.eye(len(gram)), moment), dtype=np.float64)


def choose(
    numbers: Numbers,
    points: Column,
    groups: NDArray[np.int64],
    base: Sequence[str],
    affordable: Callable[[Sequence[str]], Iterable[str]],
) -> Choice:
    """Return the numbers and the ridge with the least error on each group when it is left out.

    Numbers are added to ``base`` one at a time, the one that lowers the error most, as long as it falls by
    `GAIN`. The error is the mean over groups of the mean absolute error in points, so that a large group
    counts as a small one.

    Args:
        affordable: Of those chosen so far, the numbers that may be added.
    """
    folds = [Fold(numbers, points, groups == group) for group in np.unique(groups)]
    best: Choice | None = None
    for squash in SQUASHES:
        chosen = _grow(folds, base, squash, affordable)
        best = chosen if best is None or chosen.error < best.error else best
    assert best is not None
    return best


def _grow(
    folds: Sequence[Fold],
    base: Sequence[str],
    squash: float | None,
    affordable: Callable[[Sequence[str]], Iterable[str]],
) -> Choice:
    best = _best(folds, tuple(base), squash)
    while len(best.keys) < len(base) + MOST:
        more = [_best(folds, (*best.keys, key), squash) for key in affordable(best.keys)]
        if not more or (step := min(more, key=lambda c: c.error)).error > (1 - GAIN) * best.error:
            break
        best = step
    return best


def _best(folds: Sequence[Fold], keys: tuple[str, ...], squash: float | None) -> Choice:
    def error(strength: float) -> float:
        off = [np.abs(f.forecast(keys, strength, squash) - f.reached).mean() for f in folds]
        return float(np.mean(off))

    least, strength = min((error(strength), strength) for strength in STRENGTHS)
    return Choice(keys, strength, squash, least)
