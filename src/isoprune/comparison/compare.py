"""Records -> differences of methods, paired by seed, at a setup that both share; or a refusal."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isoprune.comparison.cross import Cross, crosses_of
from isoprune.comparison.difference import Difference
from isoprune.comparison.grade import grade
from isoprune.comparison.pairs import Pair, fair_pairs
from isoprune.comparison.records import told
from isoprune.comparison.settings import differing, make_settings
from isoprune.comparison.setups import Setup
from isoprune.comparison.statistics import holm, p_value, paired_difference


@dataclass(frozen=True)
class Comparison:
    """Every fair difference of the methods in a set of records, and what was left out."""

    by: tuple[str, ...]
    value: str
    require: Setup
    common: Mapping[str, str]
    differences: tuple[Difference, ...]
    crosses: tuple[Cross, ...]
    left_out: tuple[str, ...]

    @property
    def tests(self) -> int:
        """How many p-values are corrected together."""
        return sum(not math.isnan(d.p) for d in self.differences)


def compare(
    records: Sequence[Any],
    *,
    by: str | Sequence[str] | None = None,
    value: str = "test_accuracy",
    require: Setup = Setup.S3_2,
    without: Sequence[str] = (),
) -> Comparison:
    """Return the differences of all pairs of methods that share ``require`` or more.

    Runs that are the same but for the seed come together, and two methods are paired by seed where all else
    is equal: their runs then share the dense network, and its luck cancels. p-values are those of paired
    t-tests, corrected by Holm for all tests together.

    Args:
        records: Of finished runs, as `isoprune.experiment.run` returns them.
        by: What is compared: repair, criterion, allocation, distill, schedule, lr, epochs, ratio, or a key;
            several make a method together. None: repair, criterion and allocation where they differ, or else
            the first of the others that does.
        value: test_accuracy, validation_accuracy, trainability_accuracy, jsv (all after retraining), or
            where a record has a number, as "stages.repaired.test_accuracy".
        require: The setup that every pair must share.
        without: Methods to leave out, by the names they have here.

    Raises:
        UnfairComparison: If two methods have no pair that shares ``require``; says by which key, and what
            to do.
        IsopruneError: If there is nothing to compare.
    """
    chosen, settings, left_out = make_settings(records, by=by, value=value, without=without)
    compared = [key for keys in chosen.values() for key in keys]
    pairs, alone = fair_pairs(settings, require=require, compared=compared)
    keys = differing(settings)
    differences = [_difference(pair, keys, require) for pair in pairs]
    corrected = holm([d.p for d in differences])
    differences = [dataclasses.replace(d, corrected=c) for d, c in zip(differences, corrected, strict=True)]
    first = settings[0].rest
    named = ("data.name", "model.name", "model.activation", "prune.ratio", "prune.flops", "prune.parameters")
    return Comparison(
        by=tuple(chosen),
        value=value,
        require=require,
        common={key: told(first[key]) for key in named if first.get(key) is not None and key not in keys},
        differences=tuple(differences),
        crosses=crosses_of(differences),
        left_out=(*left_out, *alone),
    )


def _difference(pair: Pair, keys: Sequence[str], require: Setup) -> Difference:
    base, other, seeds = pair.base, pair.other, pair.seeds
    difference = paired_difference(other.values, base.values)
    lonely = {s.method: tuple(sorted(s.runs.keys() - set(seeds))) for s in (base, other)}
    top = pair.grade.setup
    if require >= Setup.SX_A:
        top = max(setup for setup in pair.grade.shared if setup >= require)
    return Difference(
        base=base.method,
        other=other.method,
        where=_where(pair, keys),
        setup=top or Setup.S1,
        strict=grade(base.runs[seeds[0]], other.runs[seeds[0]]).setup,
        seeds=seeds,
        unpaired={method: left for method, left in lonely.items() if left},
        values={seed: (base.values[seed], other.values[seed]) for seed in seeds},
        difference=difference,
        p=p_value(difference),
    )


def _where(pair: Pair, keys: Sequence[str]) -> dict[str, str]:
    """Return where a pair stands among the others: what is not everywhere the same."""
    base, other = pair.base, pair.other
    if base.scratch != other.scratch:
        # Scratch has a recipe of its own; the pair stands where the pruned network does.
        pruned = other if base.scratch else base
        return {key: told(pruned.rest[key]) for key in keys if pruned.rest.get(key) is not None}
    apart = [
        key
        for key in sorted(base.rest.keys() | other.rest.keys())
        if base.rest.get(key) != other.rest.get(key)
    ]
    where = {}
    for key in dict.fromkeys([*keys, *apart]):
        a, b = base.rest.get(key), other.rest.get(key)
        if a is not None or b is not None:
            where[key] = told(a) if a == b else f"{told(a)} and {told(b)}"
    return where
