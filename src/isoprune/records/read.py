"""Records from disk: which files are read, and what is refused with which words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from isoprune.errors import IsopruneError

Record = dict[str, Any]
VERSION = 1
_PARTS = {"config": dict, "stages": dict}


def load_records(paths: str | Path | Iterable[str | Path]) -> list[Record]:
    """Return the records found at ``paths``, each digest once, in the order of the paths.

    Args:
        paths: One path or several. A directory stands for every ``record.json`` below it, sorted.

    Raises:
        IsopruneError: If a path does not exist, a directory holds no record, or a file is not a
            record: not JSON, cut off, of another version, or without a config or its stages.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    found: dict[str, Record] = {}
    for path in given:
        for file in _record_files(Path(path)):
            record = _read(file)
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
        files = sorted(path.rglob("record.json"))
        if not files:
            raise IsopruneError(
                f"No record.json below {path}. Give the store of a study (by default runs/) "
                "or run one first: isoprune study <file.toml>."
            )
        return files
    if not path.exists():
        raise IsopruneError(f"No such file or directory: {path}. Give a record.json or a store of them.")
    return [path]


def _read(file: Path) -> Record:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise IsopruneError(
            f"{file} is not a readable record ({error}). It was cut off or edited by hand: "
            "delete it and run the study again; only this run is repeated."
        ) from error
    except OSError as error:
        raise IsopruneError(f"{file} cannot be read: {error.strerror}. Check its permissions.") from error
    _check(record, str(file))
    return record


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
