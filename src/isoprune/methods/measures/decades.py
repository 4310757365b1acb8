"""Logarithms to base ten, of zero too: what heavy-tailed numbers are given as."""

from __future__ import annotations

import math


def log10(value: float) -> float:
    """Return the logarithm; of zero minus infinity, of a negative number NaN."""
    if value > 0:
        return math.log10(value)
    return -math.inf if value == 0 else math.nan
