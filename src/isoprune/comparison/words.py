"""A comparison in sentences and as a table: it states nothing that its seeds do not show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isoprune.comparison.compare import Comparison
from isoprune.comparison.difference import Difference
from isoprune.comparison.records import Number
from isoprune.comparison.text import MISSING
from isoprune.types.sentences import sentences_of

_TEMPLATE = Path(__file__).parent / "template" / "comparison.txt.j2"
COLUMNS = ("compared", "at", "setup", "n", "difference", "95 % interval", "p", "p (Holm)")


def sentences(comparison: Comparison) -> list[str]:
    """Return the conclusions: a sentence a difference, then the cross-checks, then what was left out."""
    value = comparison.value
    facts = {
        "tests": comparison.tests,
        "quantity": _QUANTITIES.get(value, value),
        "unit": " points" if "accuracy" in value else "",
        "amount": lambda number: _amount(number, value),
        "p": _p,
    }
    return sentences_of(_TEMPLATE, vars(comparison) | facts)


def rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """Return the rows of the table of ``COLUMNS``."""
    return [_row(comparison.value, d) for d in comparison.differences]


def _row(value: str, d: Difference) -> tuple[str, ...]:
    low, high = d.difference.interval
    testable = not math.isnan(d.p)
    return (
        f"{d.other} − {d.base}",
        ", ".join(f"{key} = {v}" for key, v in d.where.items()) or MISSING,
        str(d.setup),
        str(d.difference.n),
        _amount(d.difference.mean, value),
        f"{_amount(low, value)} to {_amount(high, value)}" if testable else MISSING,
        _p(d.p) if testable else MISSING,
        _p(d.corrected) if testable else MISSING,
    )


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as plain JSON, with its sentences; what is not a number is null."""
    return {
        "version": 1,
        "by": list(comparison.by),
        "value": comparison.value,
        "require": str(comparison.require),
        "common": dict(comparison.common),
        "tests": comparison.tests,
        "differences": [_plain(d) for d in comparison.differences],
        "crosses": [
            {
                "base": cross.base,
                "other": cross.other,
                "where": dict(cross.where),
                "order": cross.order,
                "retrainings": {k: {"sign": s, "shown": sure} for k, (s, sure) in cross.signs.items()},
            }
            for cross in comparison.crosses
        ],
        "left_out": list(comparison.left_out),
        "sentences": sentences(comparison),
    }


def _plain(d: Difference) -> dict[str, Any]:
    low, high = d.difference.interval
    numbers = {
        "mean": d.difference.mean,
        "std": d.difference.std,
        "low": low,
        "high": high,
        "p": d.p,
        "p_holm": d.corrected,
    }
    if math.isnan(d.p):  # A spread of nothing is no interval.
        numbers |= dict.fromkeys(("std", "low", "high"), math.nan)
    return {
        "base": d.base,
        "other": d.other,
        "where": dict(d.where),
        "setup": str(d.setup),
        "setup_with_what_is_compared": None if d.strict is None else str(d.strict),
        "n": d.difference.n,
        **{key: number if math.isfinite(number) else None for key, number in numbers.items()},
        "seeds": {str(seed): {"base": a, "other": b} for seed, (a, b) in d.values.items()},
        "unpaired": {method: list(left) for method, left in d.unpaired.items()},
    }


_QUANTITIES: Mapping[str, str] = {
    "test_accuracy": "test accuracy after retraining",
    "validation_accuracy": "validation accuracy after retraining",
    "trainability_accuracy": "trainability accuracy",
    "jsv": "mean JSV after retraining",
}


def _amount(number: Number, value: str) -> str:
    """Return a difference with its sign: of accuracies, in percentage points."""
    text = f"{100 * number:+.2f}" if "accuracy" in value else f"{number:+.3g}"
    return "0" if not text.strip("+-0.") else text.replace("-", "−")


def _p(p: Number, equals: str = "") -> str:
    text = "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
    return text if text.startswith("<") or not equals else f"{equals} {text}"
