"""Records -> one frame: a row for every finished run, its config as flat keys, numbers by role."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import polars as pl

from isoprune.comparison.records.flat_config import Flat, flatten, under, written
from isoprune.comparison.records.labels import labels
from isoprune.comparison.records.places import read_outlines
from isoprune.comparison.records.read import Outline
from isoprune.types.collector import uncollected
from isoprune.types.errors import IsopruneError
from isoprune.types.record import ErrorPath, Record

K = TypeVar("K", bound=Hashable)  # what tells settings apart

# What may be said of a run in one word -> its column.
VALUES = {
    "test_accuracy": "retrained.test_accuracy",
    "validation_accuracy": "retrained.validation_accuracy",
    "trainability_accuracy": "trainability_accuracy",
    "jsv": "retrained.jsv.mean",
}


@dataclass(frozen=True, eq=False)
class Runs:
    """Finished runs.

    Attributes:
        frame: A row a run. Null: not in its record.
        keys: The columns that are keys of its config.
        labels: A method's name -> how tables call it.
        unfinished: How many records were not finished, and are no row.
        records: Those of the rows, in their order.
    """

    frame: pl.DataFrame
    keys: tuple[str, ...]
    labels: Mapping[str, str]
    unfinished: int
    records: tuple[Record | Outline, ...]

    def __len__(self) -> int:
        return self.frame.height

    def where(self, mask: pl.Series) -> Runs:
        """Return the runs for which ``mask`` is true."""
        kept = tuple(r for r, keep in zip(self.records, mask, strict=True) if keep)
        return Runs(self.frame.filter(mask), self.keys, self.labels, self.unfinished, kept)

    def numbers(self, value: str) -> pl.Series:
        """Return a number of every run, by its word or column; null where there is none."""
        column = VALUES.get(value, value)
        known = column in self.frame.columns and column not in self.keys
        series = self.frame[column] if known else pl.Series([None] * len(self), dtype=pl.Float64)
        return series if series.dtype.is_numeric() else pl.Series([None] * len(self), dtype=pl.Float64)

    def values(self, column: str) -> list[Any]:
        """Return a column as a list, all None where the frame has none."""
        if column not in self._lists:
            known = column in self.frame.columns
            self._lists[column] = self.frame[column].to_list() if known else [None] * len(self)
        return self._lists[column]

    @cached_property
    def seeds(self) -> list[int]:
        """The seed of each run; 0 where its config has none."""
        return [int(seed or 0) for seed in self.values("seed")]

    def by_seed(self, settings: Iterable[K | None]) -> tuple[dict[K, dict[int, int]], int]:
        """Return setting -> seed -> row, and how many rows are of a setting and seed that is there already.

        Args:
            settings: That of each row; a row of None is left out.
        """
        found: dict[K, dict[int, int]] = {}
        twice = 0
        for row, (setting, seed) in enumerate(zip(settings, self.seeds, strict=True)):
            if setting is not None:
                rows = found.setdefault(setting, {})
                twice += seed in rows
                rows.setdefault(seed, row)
        return found, twice

    @cached_property
    def whole(self) -> tuple[Record, ...]:
        """The records of runs that were read whole: pages draw their histories."""
        return tuple(record for record in self.records if isinstance(record, Record))

    @cached_property
    def _lists(self) -> dict[str, list[Any]]:
        return {}

    @cached_property
    def varied(self) -> tuple[str, ...]:
        """The keys of the config that are not the same in all runs, sorted."""
        return tuple(sorted(key for key in self.keys if self.frame[key].n_unique() > 1))

    def below(self, prefixes: Iterable[str]) -> list[str]:
        """Return the keys that are one of ``prefixes`` or below one, sorted."""
        prefixes = tuple(prefixes)
        return sorted(key for key in self.keys if any(under(key, prefix) for prefix in prefixes))

    def kinds(self, keys: Sequence[str]) -> tuple[list[Flat], list[int]]:
        """Return what ``keys`` are, each combination once, and which of them each run has."""
        places: dict[tuple[Any, ...], int] = {}
        rows = self.frame.select(keys).rows() if keys else [()] * len(self)
        codes = [places.setdefault(row, len(places)) for row in rows]
        return [dict(zip(keys, row, strict=True)) for row in places], codes

    def labelled(self, by: Mapping[str, Sequence[str]]) -> list[str]:
        """Return what to call each run along the words of ``by``; see `labels`."""
        flats, codes = self.kinds(self.below(prefix for prefixes in by.values() for prefix in prefixes))
        names = labels(flats, by)
        return [names[code] for code in codes]


def records(*places: str | Path) -> pl.DataFrame:
    """Return the finished runs of ``places`` as a data frame, a row each (pandas: ``.to_pandas()``).

    Columns are the keys of the config ("retrain.lr"; null where a run does not set it) and numbers by role:
    "retrained.test_accuracy", "pruned.flops", "repaired.jsv.mean"; "removed.parameters" and the like are
    fractions that went. Of a role that several rounds have, the numbers are those of the last.

    Args:
        places: Stores, studies of a store (``runs/studies/<name>.json``) or single records; URLs too.

    Raises:
        IsopruneError: If there is no such place, a record in it cannot be read, or no run is finished.
    """
    return runs_of(read_outlines(*places)).frame


def runs_of(given: Sequence[Any] | Runs) -> Runs:
    """Return the finished ones of ``given``, as a frame.

    Raises:
        IsopruneError: If there is none, or one is not a record.
    """
    if isinstance(given, Runs):
        return given
    for number, record in enumerate(given, start=1):
        if not isinstance(record, Record | Outline):
            raise IsopruneError(
                f"record {number} of {len(given)} is no record but a {type(record).__name__}. "
                "Give what isoprune run or study wrote."
            )
    finished = [record for record in given if record.status == "done"]
    if not finished:
        raise IsopruneError(
            f"None of {len(given)} records is finished, so there is nothing to report or compare. "
            "Run the study first: isoprune study <file.toml>."
        )
    with uncollected():
        config = _config_columns([_sections(record.config) for record in finished])
        rows = [numbers_of(record) for record in finished]
        names = dict.fromkeys(name for row in rows for name in row)
        numbers = {name: _column([row.get(name) for row in rows]) for name in names}
    about = {key: [getattr(record, key) for record in finished] for key in ("digest", "name", "status")}
    labels = {name: label for record in finished for name, label in record.labels.items()}
    return Runs(
        pl.DataFrame({**about, **config, **numbers}),
        tuple(config),
        labels,
        len(given) - len(finished),
        tuple(finished),
    )


def _sections(config: Mapping[str, Any]) -> dict[str, bytes]:
    return {
        key: bytes(part) if isinstance(part, msgspec.Raw) else msgspec.json.encode(part)
        for key, part in config.items()
    }


def _config_columns(configs: Sequence[Mapping[str, bytes]]) -> dict[str, pl.Series]:
    """Return a column for every key. Runs share most sections of their configs: each is read once."""
    columns: dict[str, pl.Series] = {}
    for section in dict.fromkeys(key for config in configs for key in config):
        places: dict[bytes, int] = {}
        codes = [places.setdefault(config.get(section, b"null"), len(places)) for config in configs]
        flats = [flatten({section: msgspec.json.decode(part)}) for part in places]
        for key in dict.fromkeys(key for flat in flats for key in flat):
            columns[key] = _column([flat.get(key) for flat in flats]).gather(codes)
    return columns


def _column(values: Sequence[Any]) -> pl.Series:
    """Return a column of one type: of numbers and words together, all are words."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pl.Series([None if value is None else float(value) for value in values])
    if len(kinds) > 1:
        return pl.Series([None if value is None else written(value) for value in values])
    return pl.Series(values)


def numbers_of(record: Record | Outline) -> dict[str, Any]:
    """Return the numbers of a record that are finite, by role: of several rounds those of the last alone.

    What a training or a line took is added up over all rounds.
    """
    row: dict[str, Any] = {"trainability_accuracy": record.trainability_accuracy}
    added: Counter[str] = Counter()
    last = {network.role: network for network in record.networks}
    for network in record.networks:
        role = network.role
        for name in ("barrier", "instability"):
            line: ErrorPath | None = getattr(network, name)
            if line is not None and line.samples:
                added[f"{role}.{name}_samples"] += line.samples
        if network.training is not None:
            for key in ("samples", "multiply_adds"):
                added[f"{role}.training.{key}"] += getattr(network.training, key)
    for role, network in last.items():
        row |= {
            f"{role}.digest": network.digest,
            f"{role}.parameters": network.parameters,
            f"{role}.nonzero": network.nonzero,
            f"{role}.flops": network.flops,
            f"{role}.seconds": network.seconds,
        }
        for key in ("coded_bytes", "peak_memory"):
            if (counted := getattr(network, key)) is not None:
                row[f"{role}.{key}"] = counted
        for key, value in network.metrics.items():
            row[f"{role}.{key}"] = _finite(value)
        for key, value in network.jsv.items():
            row[f"{role}.jsv.{key}"] = _finite(value)
        for name, measure in network.measures.items():
            row |= {f"{role}.measure.{key}": _finite(value) for key, value in measure.numbers.items()}
            if not measure.refused:
                row[f"{role}.measure_seconds.{name}"] = measure.seconds
        for name in ("barrier", "instability"):
            line = getattr(network, name)
            if line is not None and not line.refused:
                row[f"{role}.{name}"] = _finite(line.barrier)
                row[f"{role}.{name}_above_line"] = _finite(line.above_line)
        if network.advice is not None:
            row[f"{role}.advice.lr"] = network.advice.get("lr")
    for removal in record.removals[-1:]:
        row |= {f"removed.{kind}": ratio for kind, ratio in removal.ratios.items()}
        row["proof.max_abs_error"] = _finite(removal.proof.get("max_abs_error"))
    return row | added


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
