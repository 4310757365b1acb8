"""Records -> settings: what is the same but for the seed comes together, under its method's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isoprune.comparison.methods import read_by
from isoprune.comparison.records import (
    VALUES,
    Number,
    labels,
    number,
    path_of,
    reading_order,
    told,
    under,
    varied,
)
from isoprune.comparison.runs import Run, read
from isoprune.comparison.setups import METHODS, rung
from isoprune.types.errors import IsopruneError, did_you_mean


@dataclass(frozen=True)
class Setting:
    """One method at one setting of all else, with the runs and the values of its seeds."""

    method: str
    rest: Mapping[str, Any]
    runs: Mapping[int, Run]
    values: Mapping[int, Number]

    @property
    def scratch(self) -> bool:
        return next(iter(self.runs.values())).scratch


def make_settings(
    records: Sequence[Any], *, by: str | Sequence[str] | None, value: str, without: Sequence[str]
) -> tuple[dict[str, tuple[str, ...]], list[Setting], list[str]]:
    """Return what is compared, the settings (the baseline's first), and what was left out, in words.

    Raises:
        IsopruneError: If a record is none, no run has the value, or nothing differs.
    """
    runs, left_out = _finished(records)
    found = [(run, number(run.record, *path_of(value))) for run in runs]
    having = [(run, v) for run, v in found if v is not None]
    if not having:
        remedy = (
            " They were not retrained, or are of an older version: retrain them."
            if value in VALUES
            else did_you_mean(value, VALUES)
        )
        raise IsopruneError(
            f"None of {len(runs)} runs has {value}.{remedy} Or give where a record has a number, as "
            "stages.repaired.test_accuracy."
        )
    if len(having) < len(runs):
        left_out.append(
            f"{_runs(len(runs) - len(having))} without {value} (not retrained, or of an older version)."
        )
    chosen = read_by(by, [run.flat for run, _ in having])
    names = labels([run.flat for run, _ in having], chosen)
    for name in without:
        if name not in names:
            raise IsopruneError(f"No method {name!r} to leave out.{did_you_mean(name, dict.fromkeys(names))}")
    prefixes = [key for keys in chosen.values() for key in keys]
    grouped: dict[tuple[str, Any], tuple[dict[str, Any], dict[int, Run], dict[int, Number]]] = {}
    twice = 0
    for name, (run, v) in zip(names, having, strict=True):
        if name in without:
            continue
        rest = _rest(run, prefixes)
        _, own, values = grouped.setdefault((name, frozenset(rest.items())), (rest, {}, {}))
        seed = int(run.flat.get("seed") or 0)
        twice += seed in own
        own.setdefault(seed, run)
        values.setdefault(seed, v)
    if twice:
        left_out.append(f"{_runs(twice)} of a setting and seed that is there already.")
    if dropped := len(having) - twice - sum(len(own) for _, own, _ in grouped.values()):
        left_out.append(f"{_runs(dropped)} of {', '.join(without)}, as asked.")
    settings = [Setting(name, *rest) for (name, _), rest in grouped.items()]
    if len({setting.method for setting in settings}) < 2:
        raise IsopruneError(
            f"Only {settings[0].method if settings else 'nothing'} is left to compare. Leave fewer methods "
            "out."
        )
    return chosen, sorted(settings, key=_reading_order), left_out


def _finished(records: Sequence[Any]) -> tuple[list[Run], list[str]]:
    """Return the runs of the finished records; refuse what is no record, by its number."""
    runs = []
    for i, record in enumerate(records, start=1):
        where = f"record {i} of {len(records)}"
        if not isinstance(record, Mapping) or not isinstance(record.get("config"), Mapping):
            raise IsopruneError(
                f"{where} is no record: it has no config. Give what isoprune run or study wrote."
            )
        if not isinstance(record.get("stages"), Mapping):
            raise IsopruneError(
                f"{where} ({record.get('digest', 'no digest')}) has no stages: it was cut off. Delete it and "
                "run its study again; only this run is repeated."
            )
        try:
            run = read(record)
        except IsopruneError as error:
            raise IsopruneError(f"{where}: {error}") from None
        if record.get("status", "done") == "done":
            runs.append(run)
    if not runs:
        raise IsopruneError(
            f"None of {len(records)} records is finished, so there is nothing to compare. Run the study "
            "first: isoprune study <file.toml>."
        )
    unfinished = len(records) - len(runs)
    return runs, [f"{_runs(unfinished)} that is not finished."] if unfinished else []


def _rest(run: Run, prefixes: Sequence[str]) -> dict[str, Any]:
    """Return the keys that make a setting: not the method's, not the seed, not those that change nothing."""
    return {
        key: value
        for key, value in run.flat.items()
        if key != "seed"
        and not any(under(key, prefix) for prefix in prefixes)
        and (rung(key) is not None or any(under(key, method) for method in METHODS))
    }


def _reading_order(setting: Setting) -> tuple[Any, ...]:
    """No repair is the baseline of repairs, and the control comes last; numbers in their order."""
    return setting.scratch, *reading_order(setting.method), _place(setting)


def _place(setting: Setting) -> tuple[str, ...]:
    return tuple(f"{key}={told(setting.rest[key])}" for key in sorted(setting.rest))


def differing(settings: Sequence[Setting]) -> list[str]:
    """Return keys outside the method that tell where a setting stands, as few as will do, names first.

    Scratch has a recipe of its own, so the others say where there is a choice.
    """
    rests = [setting.rest for setting in settings if not setting.scratch] or [s.rest for s in settings]
    keys = varied(rests, {key for rest in rests for key in rest})
    chosen: list[str] = []
    told_apart = 1
    for key in sorted(keys, key=lambda key: (not key.endswith(".name"), key)):
        now = len({tuple(rest.get(k) for k in (*chosen, key)) for rest in rests})
        if now > told_apart:
            chosen, told_apart = [*chosen, key], now
    return sorted(chosen)


def described(setting: Setting, keys: Sequence[str]) -> str:
    """Return a setting in words: its method, where it stands, its seeds."""
    where = "".join(f", {key} = {told(setting.rest.get(key))}" for key in keys)
    seeds = ", ".join(map(str, sorted(setting.runs)))
    return f"{setting.method}{where} (seed{'s' if len(setting.runs) > 1 else ''} {seeds})"


def _runs(n: int) -> str:
    return f"{n} run{'s' if n != 1 else ''}"
