"""Two methods -> the settings at which they can be compared, or why there is none."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from isoprune.comparison.grade import Grade, budgets_of, grade
from isoprune.comparison.methods import FAMILIES
from isoprune.comparison.records import under, written
from isoprune.comparison.settings import Setting, Settings, described, differing
from isoprune.comparison.setups import METHODS, Setup
from isoprune.types.errors import IsopruneError


class UnfairComparison(IsopruneError):
    """Two runs share less than the comparison asks for: the message says what, and what to do."""


@dataclass(frozen=True)
class FairPair:
    """Two settings of two methods, the baseline first, what their runs of one seed share, and these seeds."""

    base: Setting
    other: Setting
    grade: Grade
    seeds: tuple[int, ...]


def fair_pairs(settings: Settings, *, require: Setup) -> tuple[list[FairPair], list[str]]:
    """Return every fair pair of settings of two methods, and what was left out, in words.

    Settings with all else equal make a pair. One that has no such partner makes a pair with each of the other
    method's that has none either, if the two share ``require``.

    Raises:
        UnfairComparison: If there is no fair pair of two methods; the pair that is nearest to one says why.
    """
    by_method: dict[str, list[Setting]] = {}
    for setting in settings.settings:
        by_method.setdefault(setting.method, []).append(setting)
    pairs: list[FairPair] = []
    left_out: list[str] = []
    for (_, base), (_, other) in itertools.combinations(by_method.items(), 2):
        fair, refused = _of_two(base, other, settings, require)
        if not fair and refused:
            raise UnfairComparison(_nearest(refused, require, settings.compared))
        if not fair:
            left_out.append(_no_seed(base[0], other[0]))
        pairs += fair
    if not pairs:
        raise UnfairComparison(f"{left_out[0]} Run both with the same seeds.")
    used = {id(setting) for pair in pairs for setting in (pair.base, pair.other)}
    keys = differing(settings.settings)
    left_out += [
        f"{described(setting, keys)}: no other method has been run at that setting."
        for setting in settings.settings
        if id(setting) not in used
    ]
    return pairs, left_out


def _of_two(
    base: Sequence[Setting], other: Sequence[Setting], settings: Settings, require: Setup
) -> tuple[list[FairPair], list[FairPair]]:
    """Return the fair pairs of two methods, and the pairs that are not."""
    fair, refused = [], []
    alike = {tuple(setting.rest.values()): setting for setting in other}
    for setting in base:
        twin = alike.get(tuple(setting.rest.values()))
        if twin is not None and (pair := _pair(setting, twin, settings, require)) is not None:
            (fair if pair.grade.meets(require) else refused).append(pair)
    paired = {id(setting) for pair in fair for setting in (pair.base, pair.other)}
    alone = ([setting for setting in side if id(setting) not in paired] for side in (base, other))
    for x, y in itertools.product(*alone):
        if x.rest != y.rest and (pair := _pair(x, y, settings, require)) is not None:
            good = pair.grade.meets(require) and not _second_method(x, y)
            (fair if good else refused).append(pair)
    return fair, refused


def _pair(base: Setting, other: Setting, settings: Settings, require: Setup) -> FairPair | None:
    """Return the pair with what its least alike seed shares; None if they have no seed in common."""
    seeds = sorted(base.runs.keys() & other.runs.keys())
    if not seeds:
        return None
    grades = [grade(base.runs[s], other.runs[s], settings.keys, compared=settings.compared) for s in seeds]
    least = min(grades, key=lambda g: (g.meets(require), g.setup or 0))
    return FairPair(base, other, least, tuple(seeds))


def _second_method(x: Setting, y: Setting) -> tuple[str, str, str] | None:
    """Return a key of a method that is not what is compared and is not the same, with both values."""
    for key, value in x.rest.items():
        if value != y.rest[key] and any(under(key, method) for method in METHODS):
            return key, written(value), written(y.rest[key])
    return None


def _nearest(refused: Sequence[FairPair], require: Setup, compared: Sequence[str]) -> str:
    """Return why two methods cannot be compared, by the pair that shares most."""
    pair = max(refused, key=lambda p: (p.grade.meets(require), p.grade.setup or 0))
    names = f"{pair.base.method} and {pair.other.method}"
    if pair.grade.meets(require):
        key, a, b = _second_method(pair.base, pair.other) or ("", "", "")
        word = next(word for word, keys in FAMILIES.items() if any(under(key, prefix) for prefix in keys))
        return (
            f"{names} never meet with all else equal: {key} is {a} and {b}, so a difference could be due to "
            f"it. Run both with one {key}, or compare by {word} too."
        )
    key, values = pair.grade.key, pair.grade.values
    if require >= Setup.SX_A and pair.base.scratch == pair.other.scratch:
        seed = pair.seeds[0]
        key, values = budgets_of(pair.base.runs[seed], pair.other.runs[seed], compared)[1] or (key, values)
    share = f"setup {pair.grade.setup}" if pair.grade.setup is not None else "no setup"
    a, b = (written(value) for value in values)
    return f"{names} share {share}, not {require}: {key} is {a} and {b}. {_remedy(pair, key)}"


def _remedy(pair: FairPair, key: str) -> str:
    base, other = pair.base.method, pair.other.method
    setup = pair.grade.setup
    settle = "" if setup is None else f", or pass require=Setup.{setup.name}"
    if setup is None:
        if key.startswith("prune"):
            return "Prune both to one size, by one prune.ratio or prune.flops."
        return "Compare on one data set and network."
    if pair.base.scratch != pair.other.scratch:
        scratch = base if pair.base.scratch else other
        if key.startswith("retrain"):
            return f"Train {scratch} as one of the other's trainings is done{settle}."
        how = f"(scratch_e or scratch_b of isoprune.comparison), leave {scratch} out (without)"
        return f"Give {scratch} the budget of all the other's training {how}{settle}."
    if key.endswith("of all training"):
        return f"Train both for as long{settle}."
    if setup is Setup.S1:
        return f"Start both from one dense network{settle}."
    verb = "Retrain" if setup < Setup.S3_2 else "Prune"
    return f"{verb} {other} with {base}'s recipe{settle}."


def _no_seed(base: Setting, other: Setting) -> str:
    seeds = [", ".join(map(str, sorted(setting.runs))) for setting in (base, other)]
    return (
        f"{base.method} and {other.method} have no seed in common: {seeds[0]} and {seeds[1]}, so no pair can "
        "be made."
    )
