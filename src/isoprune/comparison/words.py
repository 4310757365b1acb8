"""A comparison in words and as a table: nothing is said that its seeds do not show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from isoprune.comparison.compare import Comparison
from isoprune.comparison.cross import Cross
from isoprune.comparison.difference import Difference
from isoprune.comparison.records import Number
from isoprune.comparison.text import MISSING

COLUMNS = ("compared", "at", "setup", "n", "difference", "95 % interval", "p", "p (Holm)")


def sentences(comparison: Comparison) -> list[str]:
    """Return what can be said, a sentence a difference, then the cross-checks, then what was left out."""
    said = [heading(comparison)]
    said += [_sentence(comparison, d) for d in comparison.differences]
    said += [_cross(cross) for cross in comparison.crosses]
    return said + [f"Left out: {words}" for words in comparison.left_out]


def heading(comparison: Comparison) -> str:
    """Return what is compared, where, and what every pair shares."""
    about = ", ".join(f"{key} = {value}" for key, value in comparison.common.items())
    on = f" ({about})" if about else ""
    apart = any(_apart(comparison, d) for d in comparison.differences)
    return (
        f"{_quantity(comparison.value).capitalize()} compared by {_and(comparison)}{on}. Every "
        f"pair shares setup {comparison.require} or more: {comparison.require.demands}"
        f"{' and all below it' if 1 < comparison.require < 7 else ''}"
        f"{f'; but for {_and(comparison)}, which is compared' if apart else ''}."
    )


def _and(comparison: Comparison) -> str:
    return " and ".join(comparison.by)


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


def _sentence(comparison: Comparison, d: Difference) -> str:
    value, n = comparison.value, d.difference.n
    at = "".join(f", {key} = {v}" for key, v in d.where.items())
    amount = f"{_amount(d.difference.mean, value)}{_unit(value)} of {_quantity(value)}"
    head = f"{d.other} against {d.base}{at}, setup {d.setup}{_apart(comparison, d)}: {amount}"
    seeds = f"seed{'s' if n > 1 else ''} {', '.join(map(str, d.seeds))}"
    return f"{head} ({_evidence(comparison, d, seeds)}). {_verdict(d, value)}{_unpaired(d)}"


def _evidence(comparison: Comparison, d: Difference, seeds: str) -> str:
    if d.difference.n == 1:
        return f"n = 1, {seeds}; no interval and no p-value"
    if math.isnan(d.p):
        return f"n = {d.difference.n}, {seeds}, the same difference in each; no interval and no p-value"
    low, high = (_amount(end, comparison.value) for end in d.difference.interval)
    many = comparison.tests
    after = f", {_p(d.corrected)} after Holm's correction for {many} tests" if many > 1 else ""
    test = f"paired t-test over n = {d.difference.n}, {seeds}: p {_p(d.p, '=')}"
    return f"95 % interval {low} to {high}, {test}{after}"


def _verdict(d: Difference, value: str) -> str:
    if d.difference.n == 1:
        return "One seed cannot tell the methods from its luck: nothing is claimed."
    if math.isnan(d.p):
        return "Without a spread these seeds do not tell how sure that is: nothing is claimed."
    if d.shown():
        which = d.other if d.difference.mean > 0 else d.base
        return f"{which} is {'better' if 'accuracy' in value else 'higher'}."
    if d.p < 0.05:
        return "Alone it would be told from zero, among so many it is not: nothing is claimed."
    return "These seeds do not tell it from zero."


def _apart(comparison: Comparison, d: Difference) -> str:
    """Return that the setup holds but for what is compared, where that is part of a setup."""
    if d.strict is None or d.strict >= d.setup:
        return ""
    return f" but for {_and(comparison)}, which is compared ({d.strict} with it)"


def _unpaired(d: Difference) -> str:
    return "".join(
        f" Seed{'s' if len(left) > 1 else ''} {', '.join(map(str, left))} of {method} "
        f"{'have' if len(left) > 1 else 'has'} no partner."
        for method, left in d.unpaired.items()
    )


def _cross(cross: Cross) -> str:
    at = "".join(f", {key} = {value}" for key, value in cross.where.items())
    head = f"Cross-check of {cross.other} and {cross.base}{at}"
    ahead = {1: cross.other, -1: cross.base, 0: "neither"}
    told = "; ".join(
        f"{retraining}: {ahead[sign]}{' ahead' if shown else ' ahead, not shown'}"
        for retraining, (sign, shown) in cross.signs.items()
    )
    verdict = {
        "same": "the order is the same under every retraining, and shown under each",
        "turned": "the order turns with the retraining, so it ranks recipes, not methods",
        "open": "these seeds do not show the order under every retraining",
    }[cross.order]
    return f"{head}: {verdict} ({told})."


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


def _quantity(value: str) -> str:
    return _QUANTITIES.get(value, value)


def _unit(value: str) -> str:
    return " points" if "accuracy" in value else ""


def _amount(number: Number, value: str) -> str:
    """Return a difference with its sign: of accuracies, in percentage points."""
    text = f"{100 * number:+.2f}" if "accuracy" in value else f"{number:+.3g}"
    return "0" if not text.strip("+-0.") else text.replace("-", "−")


def _p(p: Number, equals: str = "") -> str:
    text = "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
    return text if text.startswith("<") or not equals else f"{equals} {text}"
