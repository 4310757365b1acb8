"""The difference of two methods at one setting, over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from isoprune.comparison.records import Number
from isoprune.comparison.setups import Setup
from isoprune.comparison.statistics import Summary


@dataclass(frozen=True)
class Difference:
    """What ``other`` has more than ``base``, paired by seed.

    Attributes:
        where: The keys outside the method that not all runs share -> the value, or both if they differ.
        setup: What both share, but for the keys that are compared.
        strict: What they share with these keys counted; lower where a rate or a schedule is compared.
        seeds: Of the pairs.
        unpaired: Method -> its seeds without a partner.
        values: Seed -> the values of base and other.
        difference: Of other minus base over seeds.
        p: Of the paired t-test; NaN without a test.
        corrected: By Holm, with all tests of the comparison.
    """

    base: str
    other: str
    where: Mapping[str, str]
    setup: Setup
    strict: Setup | None
    seeds: tuple[int, ...]
    unpaired: Mapping[str, tuple[int, ...]]
    values: Mapping[int, tuple[Number, Number]]
    difference: Summary
    p: Number
    corrected: Number = math.nan

    def shown(self) -> bool:
        """Whether the difference is more than these seeds' noise, after correction."""
        return self.corrected < 0.05
