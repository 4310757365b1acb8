"""Numbers as text for tables and sentences."""

from __future__ import annotations

import math

from isoprune.comparison.statistics import Summary

MISSING = "–"


def percent(summary: Summary, *, spread: bool = True) -> str:
    """Return "82.10 ± 0.12": percent of a fraction, std over seeds; one decimal where std is large (>= 1)."""
    if summary.n == 0:
        return MISSING
    decimals = 1 if summary.std >= 0.00995 else 2
    text = f"{100 * summary.mean:.{decimals}f}"
    return f"{text} ± {100 * summary.std:.{decimals}f}" if spread and summary.n > 1 else text


def points(value: float | int) -> str:
    """Return a difference of accuracies (fractions) in percentage points, one decimal, a true minus sign."""
    rounded = f"{100 * value:.1f}"
    return "0.0" if rounded == "-0.0" else rounded.replace("-", "−")


def number(value: float | int) -> str:
    """Return three digits, at most four decimals: "2.53", "1.00", "0.0051", "3.1e-7"."""
    if not math.isfinite(value):
        return MISSING if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e4:
        digits = 2 - math.floor(math.log10(abs(value)))
        return f"{value:.{max(0, min(digits, 4))}f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def plain(value: float | int) -> str:
    """Return a setting in its shortest form: 0.8, 30, 0.0001."""
    return f"{value:g}"


def learning_rate(value: float | int) -> str:
    """Return "0.1", but "1e-2" and "1.5e-3": below a tenth, zeros are hard to count."""
    if value >= 0.1 or value <= 0:
        return f"{value:g}"
    mantissa, exponent = f"{value:.6e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def count(value: float | int) -> str:
    """Return a count with thin groups of three (153 910), or "–" if it is unknown."""
    return MISSING if not math.isfinite(value) else f"{round(value):,}".replace(",", "\u202f")


def listed(words: list[str]) -> str:
    """Return "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
