"""Kendall's tau within cells: does a number order networks as what they reach, beyond what else is known?"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isoprune.comparison import text
from isoprune.comparison.statistics import CONFIDENCE, pair_signs

DRAWS = 1000  # of the bootstrap: the ends of an interval then move by about a fortieth of its width
Numbers = Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True)
class Tau:
    """Kendall's tau with its bootstrap interval and p-value; all NaN where one list tells no pair apart.

    ``networks`` are those that have the number; ``pairs`` those of one cell that both lists tell apart.
    """

    value: float
    low: float
    high: float
    p: float
    networks: int
    pairs: int

    def __str__(self) -> str:
        if math.isnan(self.value):
            return text.MISSING
        return f"{self.value:+.2f} ({self.low:+.2f} to {self.high:+.2f})".replace("-", "−")


def tau_within(
    x: Numbers,
    y: Numbers,
    *,
    cells: Sequence[Hashable] | None = None,
    networks: Sequence[Hashable] | None = None,
    beyond: Sequence[Numbers] = (),
    draws: int = DRAWS,
) -> Tau:
    r"""Return Kendall's :math:`\tau_b` over the pairs of rows that share a cell, and how sure it is.

    With :math:`s_{ij}(x) = \mathrm{sign}(x_i - x_j)` over those pairs it is the cosine
    :math:`\langle s(x), s(y)\rangle / (\|s(x)\| \|s(y)\|)`: 1 where x orders every cell as y does. Partial
    tau is the same of what is left of both once their projections on the s(z) of ``beyond`` are taken away
    (Kendall, 1942, for one z).

    The bootstrap draws networks, not rows: rows of one network come and go together, and a network that is
    drawn twice is not compared with itself. The interval is the middle 95 % of ``draws`` taus; p is of a
    normal distribution with their standard deviation, two-sided, that the tau is zero.

    Args:
        x: A number for each row; rows where it is NaN are left out, infinity is larger than all else.
        y: What is reached; finite.
        cells: Rows are compared within a cell only. None: all with all.
        networks: To which network each row belongs. None: each to its own.
        beyond: Numbers that are known already; those that tell no pair apart explain nothing.
        draws: Of the bootstrap, always the same ones.

    Cost: ``draws`` x rows of a cell, squared, for each pair of lists.
    """
    there = ~np.isnan(np.asarray(x, dtype=np.float64))
    lists = [np.asarray(one, dtype=np.float64)[there] for one in (x, y, *beyond)]
    rows = int(there.sum())
    cell = _codes([0] * len(there) if cells is None else cells, there)
    owner = _codes(range(len(there)) if networks is None else networks, there)
    many = int(owner.max()) + 1 if rows else 0
    generator = np.random.default_rng(0)
    drawn = generator.multinomial(many, np.full(many, 1 / many), size=draws) if many else np.ones((draws, 0))
    # The first is the sample itself. Whole numbers: float32 adds up sixteen million without rounding.
    times = np.vstack([np.ones(rows), drawn[:, owner]]).astype(np.float32)
    grams = np.zeros((draws + 1, len(lists), len(lists)))
    pairs = 0
    for one in range(int(cell.max()) + 1 if rows else 0):
        here = cell == one
        signs = [pair_signs(values[here]).astype(np.float32) for values in lists]
        w = times[:, here]
        for a, first in enumerate(signs):
            for b, second in enumerate(signs[: a + 1]):
                grams[:, a, b] += np.einsum("di,di->d", w @ (first * second), w)
                grams[:, b, a] = grams[:, a, b]
        pairs += int(np.count_nonzero(signs[0] * signs[1])) // 2
    taus = _partial(grams)
    value, spread = float(taus[0]), taus[1:][np.isfinite(taus[1:])]
    if not math.isfinite(value) or len(spread) < 2:
        return Tau(math.nan, math.nan, math.nan, math.nan, many, pairs)
    edge = (1 - CONFIDENCE) / 2
    low, high = (float(end) for end in np.quantile(spread, [edge, 1 - edge]))
    std = float(spread.std(ddof=1))
    p = math.erfc(abs(value) / std / math.sqrt(2)) if std > 0 else math.nan
    return Tau(value, low, high, p, many, pairs)


def _codes(labels: Sequence[Hashable], there: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return a number from 0 for each label of the rows that are there."""
    kept = [label for label, here in zip(labels, there, strict=True) if here]
    known = {label: n for n, label in enumerate(dict.fromkeys(kept))}
    return np.array([known[label] for label in kept], dtype=np.int64)


def _partial(grams: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return of [..., lists, lists] inner products the cosine of the first two beyond the others."""
    # What the others explain wholly leaves rounding, which is no order.
    least = 1e-9 * np.diagonal(grams, axis1=-2, axis2=-1)
    for last in range(grams.shape[-1] - 1, 1, -1):
        norm, share = grams[..., last, last], grams[..., :last, last]
        safe = np.where(norm > least[..., last], norm, np.inf)
        grams = grams[..., :last, :last] - share[..., :, None] * share[..., None, :] / safe[..., None, None]
    a, b = grams[..., 0, 0], grams[..., 1, 1]
    untied = (a > least[..., 0]) & (b > least[..., 1])
    return np.where(untied, grams[..., 0, 1] / np.sqrt(np.where(untied, a * b, 1.0)), np.nan)
