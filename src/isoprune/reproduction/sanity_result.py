"""The result of sanity checks: values, paired differences, and the sentences that these support."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isoprune.comparison.statistics import Summary, holm, p_value, paired_difference
from isoprune.types.sentences import sentences_of

DIVERGED = None
_TEMPLATE = Path(__file__).parent / "template" / "sanity.txt.j2"
ALPHA = 0.05


@dataclass(frozen=True)
class Check:
    """How far the method is ahead of one check, paired by seed; negative: behind.

    ``corrected`` is the p-value after Holm's correction for all checks of the battery.
    """

    name: str
    difference: Summary
    p: float
    corrected: float
    verdict: str  # "shown", "level" or "open"


@dataclass(frozen=True, repr=False)
class Sanity:
    """What a method and its checks are worth after equal trainings.

    Attributes:
        criterion: The method.
        metric, higher: What networks are judged by, and whether more of it is better.
        lr: Of every training.
        margin: Within it networks are level.
        values: "the method" and each check -> seed -> the metric; None: its training diverged.
        refused: Check -> why it does not apply.
    """

    criterion: str
    metric: str
    higher: bool
    lr: float
    margin: float
    values: Mapping[str, Mapping[int, float | None]]
    refused: Mapping[str, str]

    @functools.cached_property
    def checks(self) -> tuple[Check, ...]:
        """The checks in order, each against the method."""
        own, *others = self.values
        found = {name: self._ahead(own, name) for name in others}
        p_values = [p_value(difference) for difference in found.values()]
        rows = zip(found.items(), p_values, holm(p_values), strict=True)
        return tuple(Check(n, d, p, q, self._verdict(d, p, q)) for (n, d), p, q in rows)

    def _ahead(self, own: str, name: str) -> Summary:
        sign = 1 if self.higher else -1
        ours, theirs = (
            {seed: sign * value for seed, value in self.values[key].items() if value is not None}
            for key in (own, name)
        )
        return paired_difference(ours, theirs)

    def _verdict(self, difference: Summary, p: float, corrected: float) -> str:
        if math.isnan(p):  # One pair, or pairs without a spread: nothing can be said.
            return "open"
        if corrected < ALPHA:
            return "shown"
        low, high = difference.interval
        return "level" if -self.margin <= low and high <= self.margin else "open"

    @property
    def sentences(self) -> list[str]:
        """The conclusions, a sentence a check; chance at the method's own ratios first."""
        return sentences_of(_TEMPLATE, {"s": self, "amount": self._amount, "isnan": math.isnan})

    def _amount(self, number: float, signed: bool = True) -> str:
        scale = 100 if "accuracy" in self.metric else 1
        text = f"{scale * number:+.2f}" if scale == 100 else f"{number:+.3g}"
        return (text if signed else text.lstrip("+")).replace("-", "−")

    @property
    def unit(self) -> str:
        return " points" if "accuracy" in self.metric else ""

    def __repr__(self) -> str:
        return "\n".join(self.sentences)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "version": 1,
            "criterion": self.criterion,
            "metric": self.metric,
            "lr": self.lr,
            "margin": self.margin,
            "values": {name: {str(s): v for s, v in row.items()} for name, row in self.values.items()},
            "checks": [
                {
                    "name": c.name,
                    "verdict": c.verdict,
                    "n": c.difference.n,
                    "mean": c.difference.mean,
                    "interval": None if math.isnan(c.p) else list(c.difference.interval),
                    "p": None if math.isnan(c.p) else c.p,
                    "p_holm": None if math.isnan(c.p) else c.corrected,
                }
                for c in self.checks
            ],
            "refused": dict(self.refused),
            "sentences": self.sentences,
        }
