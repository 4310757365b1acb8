"""Reads records from disk: which files, and the errors for those that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypedDict, TypeVar

import msgspec
from msgspec import Struct

from isoprune.types.collector import uncollected
from isoprune.types.errors import IsopruneError
from isoprune.types.record import ErrorPath, MeasureRecord, Record, TrainingCost
from isoprune.types.record_files import printable_json, read_record

RECORD = "record.json"


class Advised(TypedDict):
    """The rate of an advice, without the rest."""

    lr: float


class OutlineNetwork(Struct, frozen=True):
    """A network of a record without its history and histogram."""

    role: str
    digest: str
    parameters: int
    nonzero: int
    flops: int
    metrics: dict[str, float | None]
    coded_bytes: int | None = None
    jsv: dict[str, float | None] = {}
    seconds: float = 0.0
    peak_memory: int | None = None
    training: TrainingCost | None = None
    advice: Advised | None = None
    measures: dict[str, MeasureRecord] = {}
    barrier: ErrorPath | None = None
    instability: ErrorPath | None = None


class OutlineRemoval(Struct, frozen=True):
    """What a step removed, without the list of units."""

    ratios: dict[str, float]
    proof: dict[str, float | None] = {}


class Outline(Struct, frozen=True):
    """The part of a record that a frame holds: read in a third of the time, as the rest is not built."""

    version: int
    digest: str
    name: str
    config: dict[str, msgspec.Raw]
    status: str = "done"
    labels: dict[str, str] = {}
    networks: list[OutlineNetwork] = []
    removals: list[OutlineRemoval] = []
    trainability_accuracy: float | None = None


Read = TypeVar("Read", Record, Outline)


def load_records(paths: str | Path | Iterable[str | Path]) -> list[Record]:
    """Return the records found at ``paths``, each digest once, in the order of the paths.

    Args:
        paths: One path or several. A directory stands for every ``record.json`` below it, sorted.

    Raises:
        IsopruneError: If a path does not exist, a directory holds no record, or a file is not a
            record: not JSON, cut off, of another version, or with keys that no record has.
    """
    return _load(paths, msgspec.json.Decoder(Record))


def load_outlines(paths: str | Path | Iterable[str | Path]) -> list[Outline]:
    """Return the outlines of the records at ``paths``; see `load_records`."""
    return _load(paths, msgspec.json.Decoder(Outline))


def _load(paths: str | Path | Iterable[str | Path], decoder: msgspec.json.Decoder[Read]) -> list[Read]:
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    found: dict[str, Read] = {}
    with uncollected():
        for path in given:
            for file in _record_files(Path(path)):
                record = read_record(file, decoder, change=printable_json)
                found[record.digest] = record
    return list(found.values())


def _record_files(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(_below(path))
        if not files:
            raise IsopruneError(
                f"No record.json below {path}. Give the store of a study (by default runs/) "
                "or run one first: isoprune study <file.toml>."
            )
        return files
    if not path.exists():
        raise IsopruneError(f"No such file or directory: {path}. Give a record.json or a store of them.")
    return [path]


def _below(folder: Path) -> Iterator[Path]:
    """Yield the records below a folder; below a record there are none, so a store's runs are not listed."""
    if os.path.lexists(file := folder / RECORD):  # A broken link is told where it is read.
        yield file
        return
    with os.scandir(folder) as entries:
        inner = [entry.name for entry in entries if entry.is_dir()]
    for name in inner:
        yield from _below(folder / name)
