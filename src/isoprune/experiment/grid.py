"""A study: one base experiment times a grid over any of its keys, plus `--set` from the shell.

```toml
[study]
"retrain.lr" = [1e-2, 1e-3]
"repair" = ["none", "orthp"]
"seed" = [0, 1, 2]
```
is twelve experiments. A value of the grid replaces what the base has at that key. Several grids in one
study, each a ``[[study]]``, are done one after the other; what they share is done once.
"""

from __future__ import annotations

import copy
import itertools
import math
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isoprune.experiment.config import Experiment, experiment, read_toml
from isoprune.types.config_keys import CHOICES
from isoprune.types.errors import IsopruneError

Table = dict[str, Any]

LARGEST = 100_000  # combinations of a grid: counted before any is made


@dataclass(frozen=True)
class Study:
    """Named experiments, and the axes they came from (dotted key -> values)."""

    name: str
    experiments: tuple[Experiment, ...]
    axes: Mapping[str, list[Any]] = field(default_factory=dict)


def parse_override(text: str) -> tuple[str, Any]:
    """Return key and value of ``retrain.lr=0.1``; values are TOML, a bare word is a string."""
    key, equals, value = text.partition("=")
    key, value = key.strip(), value.strip()
    if not equals or not key or not value:
        raise IsopruneError(f"--set {text!r} is not key=value. Write for example --set retrain.lr=0.1.")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        if re.fullmatch(
            r"[A-Za-z_][\w.:-]*", value
        ):  # The shell eats quotes: repair=orthp is meant as "orthp".
            return key, value
        raise IsopruneError(
            f"--set {key}: {value!r:.80} is not a TOML value. Quote strings and tables for the shell: "
            f"--set '{key}=\"text\"' or --set '{key}={{name=\"text\"}}'."
        ) from None


def put(table: Table, key: str, value: Any) -> None:
    """Set the dotted ``key`` of ``table``, in place; a choice written as a name becomes a table first.

    A step of a recipe is named by its place, 0 the first: ``steps.1.criterion``.
    """
    *parents, last = key.split(".")
    path = ""
    place: Any = table
    for parent in parents:
        path = f"{path}.{parent}".lstrip(".")
        if isinstance(place, list):
            place = _element(place, parent, key)
            continue
        child = place.setdefault(parent, {})
        if isinstance(child, str) and parent in CHOICES:
            child = place[parent] = {"name": child}
        if not isinstance(child, dict | list):
            raise IsopruneError(f"Cannot set {key!r}: {path} is {child!r}, not a table. Give {path} whole.")
        place = child
    if isinstance(place, list):
        raise IsopruneError(
            f"Cannot set {key!r}: {path} is a list. Give it whole, or a key of one of its steps."
        )
    place[last] = copy.deepcopy(value)


def _element(steps: list[Any], word: str, key: str) -> Table:
    if not word.isdigit() or int(word) >= len(steps) or not isinstance(steps[int(word)], dict):
        raise IsopruneError(
            f"Cannot set {key!r}: there is no step {word!r}. Give a number from 0 to {len(steps) - 1}."
        )
    return steps[int(word)]


def override(table: Table, settings: Iterable[str]) -> Table:
    """Return a copy of a file's table with each ``key=value`` put in; ``study.seed=[0]`` sets an axis."""
    table = copy.deepcopy(table)
    for setting in settings:
        key, value = parse_override(setting)
        axes = table.get("study", {})
        if key.startswith("study."):
            table.setdefault("study", {})
            for grid in _grids(table["study"]):
                grid[key.removeprefix("study.")] = value
            continue
        clash = [
            a for grid in _grids(axes) for a in grid
            if a == key or a.startswith(f"{key}.") or key.startswith(f"{a}.")
        ]  # fmt: skip
        if clash:
            raise IsopruneError(
                f"--set {key}: the grid sets {clash[0]!r}. Narrow the grid: --set 'study.{clash[0]}=[...]'."
            )
        put(table, key, value)
    return table


def expand(table: Table, *, name: str) -> Study:
    """Return the Cartesian product (of each grid) of ``table["study"]`` over the rest of ``table``.

    Experiments that come out equal (a grid over ``retrain.lr`` where ``retrain.epochs`` is 0) are
    kept once. Without ``[study]`` it is a study of one.
    """
    base = {key: value for key, value in table.items() if key != "study"}
    unique: dict[str, Experiment] = {}
    merged: dict[str, list[Any]] = {}
    grids = _grids(table.get("study", {}))
    for axes in grids:
        _check_axes(axes)
    count = sum(math.prod(map(len, axes.values())) for axes in grids)
    if count > LARGEST:
        raise IsopruneError(
            f"The grid has {count:,} combinations, and a study has {LARGEST:,} at most. Give its axes fewer "
            "values."
        )
    for axes in grids:
        for key, values in axes.items():
            merged[key] = [*merged.get(key, []), *(v for v in values if v not in merged.get(key, []))]
        for values in itertools.product(*axes.values()):
            point = copy.deepcopy(base)
            for key, value in zip(axes, values, strict=True):
                put(point, key, value)
            made = experiment(point)
            unique.setdefault(repr(made.as_dict()), made)
    return Study(name, tuple(unique.values()), merged)


def _grids(study: Any) -> list[dict[str, Any]]:
    """Return the grids of a study: one table, or a list of them."""
    grids = study if isinstance(study, list) else [study]
    if not grids or not all(isinstance(grid, dict) for grid in grids):
        raise IsopruneError(f"study is {study!r}, not a table. Write [study] and lists of values below it.")
    return grids


def _check_axes(axes: Mapping[str, Any]) -> None:
    for key, values in axes.items():
        if not isinstance(values, list) or not values:
            hint = f'Write "{key}" = [first, second].'
            if isinstance(values, dict) and values:
                hint = f'Write "{key}.{next(iter(values))}" = [...] with the dotted key in quotes.'
            raise IsopruneError(f"study.{key} must be a list of values, not {values!r}. {hint}")


def read_study(path: str | Path, settings: Iterable[str] = ()) -> Study:
    """Return the study of a TOML file; its name is the file's.

    Raises:
        IsopruneError: One line that begins with the file and says what to change.
    """
    path = Path(path)
    table = read_toml(path)
    try:
        return expand(override(table, settings), name=path.stem)
    except IsopruneError as error:
        raise IsopruneError(f"{path}: {error}") from None


def read_experiment(path: str | Path, settings: Iterable[str] = ()) -> Experiment:
    """Return the one experiment of a TOML file; a file with a grid is refused."""
    study = read_study(path, settings)
    if len(study.experiments) != 1:
        raise IsopruneError(
            f"{path}: is a study of {len(study.experiments)} experiments. Start it by: isoprune study {path}."
        )
    return study.experiments[0]
