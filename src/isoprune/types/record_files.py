"""A record from its file: its checksum, its version and its types checked, and what is wrong in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import msgspec
from msgspec import Struct

from isoprune.types.errors import IsopruneError
from isoprune.types.files import DamagedFile, read_file
from isoprune.types.json_files import unsealed
from isoprune.types.record import VERSION, Record


@runtime_checkable
class _Versioned(Protocol):
    @property
    def version(self) -> int: ...


Read = TypeVar("Read", bound=_Versioned)

WHOLE = msgspec.json.Decoder(Record)
_REMEDY = "It was cut off or edited by hand: delete it and run the study again; only this run is repeated."


def read_record(file: Path, decoder: msgspec.json.Decoder[Read]) -> Read:
    """Return what ``decoder`` makes of the record in a file.

    Raises:
        FileNotFoundError: If there is none.
        IsopruneError: If it is damaged, of another version, or something else.
    """
    content = read_file(file)
    try:
        record = decoder.decode(unsealed(content, file, _REMEDY))
    except DamagedFile:
        _check_kind(file, content)
        raise
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _check_kind(file, content)
        said = re.sub(r"\s+", " ", str(error))
        raise IsopruneError(
            f"{file} is not a record as isoprune writes it ({said}). Delete it and run the study again."
        ) from error
    if record.version != VERSION:
        _check_kind(file, content)
    return record


class _Head(Struct):
    version: Any = None


def _check_kind(file: Path, content: bytes) -> None:
    """Raise if a file is no JSON object, or one of another version; else it is a damaged record."""
    try:
        version = msgspec.json.decode(content, type=_Head).version
    except msgspec.ValidationError:
        raise IsopruneError(
            f"{file} is JSON, but not a record. Give a record.json written by isoprune run or study."
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as damage:
        raise IsopruneError(f"{file} is not a readable record ({damage}). {_REMEDY}") from None
    if version != VERSION:
        what = "no version" if version is None else f"version {version!r:.40}"
        raise IsopruneError(
            f"{file} is a record of {what}; this isoprune reads version {VERSION}. "
            "Update isoprune, or run the study again."
        )
