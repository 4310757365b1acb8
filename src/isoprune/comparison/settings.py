"""Runs -> settings: runs that differ in the seed alone are one setting, named by its method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isoprune.comparison.methods import read_by
from isoprune.comparison.records import VALUES, Number, Runs, reading_order, runs_of, under, varied, written
from isoprune.comparison.runs import Run
from isoprune.comparison.setups import METHODS, rung
from isoprune.types.errors import IsopruneError, did_you_mean


@dataclass(frozen=True, eq=False)
class Setting:
    """One method at one setting of all else, with the runs and the values of its seeds.

    ``rest`` has the keys outside the method that are not the same in all runs.
    """

    method: str
    rest: Mapping[str, Any]
    runs: dict[int, Run]
    values: dict[int, Number]

    @property
    def scratch(self) -> bool:
        return next(iter(self.runs.values())).scratch


@dataclass(frozen=True, eq=False)
class Settings:
    """What is compared.

    Attributes:
        by: Word -> the keys that are compared under it.
        settings: The baseline's first.
        keys: Those that may differ between two runs, sorted.
        common: Keys that are the same in all runs -> their value.
        left_out: In words.
    """

    by: Mapping[str, tuple[str, ...]]
    settings: Sequence[Setting]
    keys: Sequence[str]
    common: Mapping[str, Any]
    left_out: Sequence[str]

    @property
    def compared(self) -> list[str]:
        return [key for keys in self.by.values() for key in keys]


def make_settings(
    records: Any, *, by: str | Sequence[str] | None, value: str, without: Sequence[str]
) -> Settings:
    """Return the settings of records, or of a frame of them.

    Raises:
        IsopruneError: If a record is none, no run has the value, or nothing differs.
    """
    runs = runs_of(records)
    left_out = [f"{_counted(runs.unfinished)} that is not finished."] if runs.unfinished else []
    numbers = runs.numbers(value)
    having = runs.where(numbers.is_not_null())
    if not len(having):
        remedy = " They were not retrained: retrain them." if value in VALUES else did_you_mean(value, VALUES)
        raise IsopruneError(
            f"None of {len(runs)} runs has {value}.{remedy} Or give a number by its role, as "
            "repaired.test_accuracy."
        )
    if len(having) < len(runs):
        left_out.append(f"{_counted(len(runs) - len(having))} without {value} (not retrained).")
    chosen = read_by(by, having)
    names = having.labelled(chosen)
    for name in without:
        if name not in names:
            raise IsopruneError(f"No method {name!r} to leave out.{did_you_mean(name, dict.fromkeys(names))}")
    prefixes = [key for keys in chosen.values() for key in keys]
    settings, twice = _grouped(having, names, prefixes, numbers.drop_nulls().to_list(), without)
    if twice:
        left_out.append(f"{_counted(twice)} of a setting and seed that is there already.")
    if dropped := sum(name in without for name in names):
        left_out.append(f"{_counted(dropped)} of {', '.join(without)}, as requested.")
    if len({setting.method for setting in settings}) < 2:
        raise IsopruneError(
            f"Only {settings[0].method if settings else 'nothing'} is left to compare. Leave fewer methods "
            "out."
        )
    first = having.frame.row(0, named=True)
    common = {key: first[key] for key in having.keys if key not in having.varied}
    return Settings(chosen, sorted(settings, key=_reading_order), having.varied, common, left_out)


def _grouped(
    runs: Runs,
    names: Sequence[str],
    prefixes: Sequence[str],
    values: Sequence[Number],
    without: Sequence[str],
) -> tuple[list[Setting], int]:
    """Return the settings, and how many runs are of a setting and seed that is there already."""
    keys = [key for key in runs.varied if _makes_a_setting(key, prefixes)]
    rests, places = runs.kinds(keys)
    kinds = zip(names, places, strict=True)
    found, twice = runs.by_seed(None if name in without else (name, place) for name, place in kinds)
    rows = list(runs.frame.iter_rows(named=True))
    settings = [
        Setting(
            name,
            rests[place],
            {seed: Run(rows[row], rows[row]) for seed, row in seeds.items()},
            {seed: values[row] for seed, row in seeds.items()},
        )
        for (name, place), seeds in found.items()
    ]
    return settings, twice


def _makes_a_setting(key: str, prefixes: Sequence[str]) -> bool:
    """Whether a key is neither the method's nor the seed nor one that changes nothing."""
    if key == "seed" or any(under(key, prefix) for prefix in prefixes):
        return False
    return rung(key) is not None or any(under(key, method) for method in METHODS)


def _reading_order(setting: Setting) -> tuple[Any, ...]:
    """No repair is the baseline of repairs, and the control comes last; numbers in their order."""
    place = tuple(f"{key}={written(value)}" for key, value in sorted(setting.rest.items()))
    return setting.scratch, *reading_order(setting.method), place


def differing(settings: Sequence[Setting]) -> list[str]:
    """Return the fewest keys outside the method that identify a setting, names first.

    Scratch has a recipe of its own, so the others say where there is a choice.
    """
    rests = [setting.rest for setting in settings if not setting.scratch] or [s.rest for s in settings]
    chosen: list[str] = []
    told_apart = 1
    for key in sorted(varied(rests, rests[0]), key=lambda key: (not key.endswith(".name"), key)):
        now = len({tuple(rest[k] for k in (*chosen, key)) for rest in rests})
        if now > told_apart:
            chosen, told_apart = [*chosen, key], now
    return sorted(chosen)


def described(setting: Setting, keys: Sequence[str]) -> str:
    """Return a setting in words: its method, where it stands, its seeds."""
    where = "".join(f", {key} = {written(setting.rest.get(key))}" for key in keys)
    seeds = ", ".join(map(str, sorted(setting.runs)))
    return f"{setting.method}{where} (seed{'s' if len(setting.runs) > 1 else ''} {seeds})"


def _counted(n: int) -> str:
    return f"{n} run{'s' if n != 1 else ''}"
