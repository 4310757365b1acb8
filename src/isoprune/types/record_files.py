"""Reads a record from its file: checks checksum, version and types; errors are one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import msgspec

from isoprune.types.errors import IsopruneError
from isoprune.types.files import DamagedFile, read_file
from isoprune.types.json_files import unsealed
from isoprune.types.printable import LONGEST, hides, name
from isoprune.types.record import VERSION, Record


@runtime_checkable
class _Versioned(Protocol):
    @property
    def version(self) -> int: ...


Read = TypeVar("Read", bound=_Versioned)

WHOLE = msgspec.json.Decoder(Record)
_REMEDY = "It was cut off or edited by hand: delete it and run the study again; only this run is repeated."


_SHORT_TEXTS = re.compile(rb'(?:[^"]*+"[^"]{0,%d}+")*+[^"]*+' % LONGEST)
_ESCAPED = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|[bfnrt])")


def printable_json(content: bytes) -> bytes:
    """Return JSON in which every text, of keys too, is printable: what reports know of a record."""
    if _is_printable(content):
        return content
    return msgspec.json.encode(_shown(msgspec.json.decode(content)))


def _is_printable(content: bytes) -> bool:
    """Tell whether no text in JSON needs a change, without decoding it: most records are so."""
    if b"\x7f" in content or (not content.isascii() and hides(set(content.decode()) - {"\n"})):
        return False
    if b"\\" in content:
        codes = set(_ESCAPED.findall(content))
        if b"" in codes or hides(chr(int(code, 16)) for code in codes):  # "" is one of bfnrt
            return False
        content = content.replace(rb"\\", b"_").replace(rb"\"", b"_")
    return _SHORT_TEXTS.fullmatch(content) is not None


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return name(value)
    if isinstance(value, dict):
        return {name(key): _shown(inner) for key, inner in value.items()}
    return [_shown(inner) for inner in value] if isinstance(value, list) else value


def read_record(
    file: Path, decoder: msgspec.json.Decoder[Read], *, change: Callable[[bytes], bytes] = bytes
) -> Read:
    """Return what ``decoder`` makes of the record in a file, after ``change``.

    Raises:
        FileNotFoundError: If there is none.
        IsopruneError: If it is damaged, of another version, or something else.
    """
    content = read_file(file)
    try:
        record = decoder.decode(change(unsealed(content, file, _REMEDY)))
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


def _check_kind(file: Path, content: bytes) -> None:
    """Raise if a file is no JSON object, or one of another version; else it is a damaged record."""
    try:
        whole = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as damage:
        raise IsopruneError(f"{file} is not a readable record ({damage}). {_REMEDY}") from None
    if not isinstance(whole, dict) or "version" not in whole:
        raise IsopruneError(
            f"{file} is JSON, but is not a record. Give a record.json written by isoprune run or study."
        )
    version = whole["version"]
    if version != VERSION:
        raise IsopruneError(
            f"{file} is a record of version {version!r:.40}; this isoprune reads version {VERSION}. "
            "Update isoprune, or run the study again."
        )
