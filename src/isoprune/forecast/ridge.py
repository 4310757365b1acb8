"""The ridge regression of a forecast: how strongly it shrinks is chosen by groups that are left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isoprune.forecast.columns import columns
from isoprune.forecast.fitted import Column, Numbers, squashed, unsquashed

# In rows. Numbers of a family that was not seen lie elsewhere, so more than the usual is offered.
STRENGTHS = (3.0, 30.0, 300.0)
SQUASHES = (None, 1.0)  # in points


@dataclass(frozen=True)
class Shrinkage:
    """How strongly a ridge shrinks, on which scale, and its mean error in points on groups left out."""

    strength: float
    squash: float | None
    error: float


def ridge(X: NDArray[np.float64], y: Column, strength: float) -> tuple[float, NDArray[np.float64]]:
    r"""Return b and w that minimise :math:`\|y - b - X w\|^2 + \lambda \|w\|^2`: Hoerl & Kennard, 1970."""
    middle = X.mean(0)
    centred = X - middle
    gram = centred.T @ centred + strength * np.eye(X.shape[1])
    w = np.asarray(np.linalg.solve(gram, centred.T @ (y - y.mean())), dtype=np.float64)
    return float(y.mean() - middle @ w), w


def choose(numbers: Numbers, points: Column, groups: NDArray[np.int64]) -> Shrinkage:
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
            b, w = ridge(X, squashed(y, squash), strength)
            off.append(np.abs(unsquashed(b + others @ w, squash) - reached).mean())
        return float(np.mean(off))

    tried = [
        Shrinkage(strength, squash, error(strength, squash)) for squash in SQUASHES for strength in STRENGTHS
    ]
    return min(tried, key=lambda one: one.error)
