"""Records -> differences of methods, paired by seed, at a setup that both share; or a refusal."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isoprune.comparison.cross import Cross, crosses_of
from isoprune.comparison.difference import Difference
from isoprune.comparison.grade import grade
from isoprune.comparison.pairs import FairPair, fair_pairs
from isoprune.comparison.records import Runs, written
from isoprune.comparison.settings import Settings, differing, make_settings
from isoprune.comparison.setups import Setup
from isoprune.comparison.statistics import holm, p_value, paired_difference
from isoprune.types.shown import screenful, shown


@shown
@dataclass(frozen=True, repr=False)
class Comparison:
    """Every fair difference of the methods in a set of records, and what was left out."""

    by: tuple[str, ...]
    value: str
    require: Setup
    common: Mapping[str, str]
    differences: tuple[Difference, ...]
    crosses: tuple[Cross, ...]
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        rows = [
            f"{d.other} - {d.base}: {d.difference.mean:+.4g}, {d.setup}, n = {d.difference.n}, "
            f"p (Holm) = {d.corrected:.2g}"
            for d in self.differences
        ]
        head = f"Comparison of {', '.join(self.by)} in {self.value}: {len(rows)} differences"
        return screenful(head, rows, "comparison.differences")

    @functools.cached_property
    def tests(self) -> int:
        """How many p-values are corrected together."""
        return sum(not math.isnan(d.p) for d in self.differences)


def compare(
    records: Sequence[Any] | Runs,
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
        records: Of runs, as `isoprune.experiment.run` returns them or `load_records` reads them.
        by: What is compared: repair, criterion, allocation, distill, schedule, lr, epochs, ratio, or a key;
            several make a method together. None: repair, criterion and allocation where they differ, or else
            the first of the others that does.
        value: test_accuracy, validation_accuracy, trainability_accuracy, jsv (all after retraining), or
            a number by its role, as "repaired.test_accuracy".
        require: The setup that every pair must share.
        without: Methods to leave out, by the names they have here.

    Raises:
        UnfairComparison: If two methods have no pair that shares ``require``; says by which key, and what
            to do.
        IsopruneError: If there is nothing to compare.
    """
    settings = make_settings(records, by=by, value=value, without=without)
    pairs, alone = fair_pairs(settings, require=require)
    keys = differing(settings.settings)
    differences = [_difference(pair, keys, settings, require) for pair in pairs]
    corrected = holm([d.p for d in differences])
    differences = [dataclasses.replace(d, corrected=c) for d, c in zip(differences, corrected, strict=True)]
    named = ("data.name", "model.name", "model.activation", "prune.ratio", "prune.flops", "prune.parameters")
    return Comparison(
        by=tuple(settings.by),
        value=value,
        require=require,
        common={key: written(v) for key in named if (v := settings.common.get(key)) is not None},
        differences=tuple(differences),
        crosses=crosses_of(differences),
        left_out=(*settings.left_out, *alone),
    )


def _difference(pair: FairPair, keys: Sequence[str], settings: Settings, require: Setup) -> Difference:
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
        strict=grade(base.runs[seeds[0]], other.runs[seeds[0]], settings.keys).setup,
        seeds=seeds,
        unpaired={method: left for method, left in lonely.items() if left},
        values={seed: (base.values[seed], other.values[seed]) for seed in seeds},
        difference=difference,
        p=p_value(difference),
    )


def _where(pair: FairPair, keys: Sequence[str]) -> dict[str, str]:
    """Return where a pair stands among the others: what is not everywhere the same."""
    base, other = pair.base, pair.other
    if base.scratch != other.scratch:
        # Scratch has a recipe of its own; the pair stands where the pruned network does.
        pruned = other if base.scratch else base
        return {key: written(pruned.rest[key]) for key in keys if pruned.rest.get(key) is not None}
    apart = [key for key, value in base.rest.items() if value != other.rest[key]]
    where = {}
    for key in dict.fromkeys([*keys, *apart]):
        a, b = base.rest.get(key), other.rest.get(key)
        if a is not None or b is not None:
            where[key] = written(a) if a == b else f"{written(a)} and {written(b)}"
    return where
