"""Records from disk: which files are read, and what is refused with which words."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from isoprune.types.collector import uncollected
from isoprune.types.errors import IsopruneError

Record = dict[str, Any]
VERSION = 1
RECORD = "record.json"
_PARTS = {"config": dict, "stages": dict}
_ALWAYS = frozenset({"version", "digest", "status", "name", *_PARTS})


def load_records(
    paths: str | Path | Iterable[str | Path], *, parts: Collection[str] | None = None
) -> list[Record]:
    """Return the records found at ``paths``, each digest once, in the order of the paths.

    Args:
        paths: One path or several. A directory stands for every ``record.json`` below it, sorted.
        parts: Keep only these of a record's keys, besides those that every record has, and do not even
            build the others: half the time and a quarter of the memory. None: the whole record.

    Raises:
        IsopruneError: If a path does not exist, a directory holds no record, or a file is not a
            record: not JSON, cut off, of another version, or without a config or its stages.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    found: dict[str, Record] = {}
    with uncollected():
        for path in given:
            for file in _record_files(Path(path)):
                record = _read(file, parts)
                found[str(record.get("digest", file))] = record
    return list(found.values())


def check_records(records: Sequence[Record]) -> list[Record]:
    """Return the finished records.

    Raises:
        IsopruneError: If there is none, or if one is not a record.
    """
    for number, record in enumerate(records, start=1):
        _check(record, f"record {number} of {len(records)}")
    finished = [record for record in records if record.get("status", "done") == "done"]
    if not finished:
        raise IsopruneError(
            f"None of {len(records)} records is finished, so there is nothing to report. "
            "Run the study first: isoprune study <file.toml>."
        )
    return finished


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
    if (file := folder / RECORD).exists():
        yield file
        return
    with os.scandir(folder) as entries:
        inner = [entry.name for entry in entries if entry.is_dir()]
    for name in inner:
        yield from _below(folder / name)


def _read(file: Path, parts: Collection[str] | None) -> Record:
    try:
        content = file.read_bytes()
        record = msgspec.json.decode(content) if parts is None else _decoded(content, parts)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IsopruneError(
            f"{file} is not a readable record ({error}). It was cut off or edited by hand: "
            "delete it and run the study again; only this run is repeated."
        ) from error
    except OSError as error:
        raise IsopruneError(f"{file} cannot be read: {error.strerror}. Check its permissions.") from error
    _check(record, str(file))
    return record


_UNREAD = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _decoded(content: bytes, parts: Collection[str]) -> Any:
    try:
        unread = _UNREAD.decode(content)
    except msgspec.ValidationError:  # JSON, but no object: `_check` says so.
        return msgspec.json.decode(content)
    return {
        key: msgspec.json.decode(value) for key, value in unread.items() if key in _ALWAYS or key in parts
    }


def _check(record: object, where: str) -> None:
    if not isinstance(record, dict):
        raise IsopruneError(
            f"{where} holds a {type(record).__name__}, not a record (a JSON object). "
            "Give a record.json written by isoprune run or study."
        )
    version = record.get("version", VERSION)
    if version != VERSION:
        raise IsopruneError(
            f"{where} is a record of version {version}; this isoprune reads version {VERSION}. "
            "Update isoprune, or run the study again."
        )
    for part, kind in _PARTS.items():
        if not isinstance(record.get(part), kind):
            raise IsopruneError(
                f"{where} has no {part}, so it is not a record. "
                "Give a record.json written by isoprune run or study."
            )
