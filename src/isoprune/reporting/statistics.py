"""Histograms pooled over several runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


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
