"""JSON files that carry the checksum of their content: damage is noticed, whatever it hits."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isoprune.types.files import DamagedFile, read_file, write_atomic

_NONE = b"0" * 64  # in the checksum's place while it is computed
_HEAD = re.compile(rb'\{\n "checksum": "([0-9a-f]{64})",?\n')


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write an object as JSON with its checksum; NaN and infinity become null, as JSON has neither."""
    write_atomic(path, sealed(value))


def sealed(value: Mapping[str, Any]) -> bytes:
    """Return an object as JSON, a key a line; the first, "checksum", is the SHA-256 of all other bytes."""
    rest = {key: inner for key, inner in finite(value).items() if key != "checksum"}
    pairs = {"checksum": _NONE.decode(), **rest}.items()
    lines = (f" {json.dumps(key)}: {json.dumps(inner, allow_nan=False)}" for key, inner in pairs)
    text = ("{\n" + ",\n".join(lines) + "\n}\n").encode()
    return text.replace(_NONE, hashlib.sha256(text).hexdigest().encode(), 1)


def unsealed(content: bytes, path: Path, remedy: str) -> bytes:
    """Return the JSON in ``content`` without its checksum, which is that of the content.

    Raises:
        DamagedFile: If it is not, or there is none.
    """
    head = _HEAD.match(content)
    if head is None:
        raise DamagedFile(f"{path} is damaged: it does not begin with a checksum. {remedy}")
    if hashlib.sha256(content.replace(head[1], _NONE, 1)).hexdigest().encode() != head[1]:
        raise DamagedFile(f"{path} is damaged: its checksum is not that of its content. {remedy}")
    return b"{\n" + content[head.end() :]


def read_json(path: Path, *, remedy: str) -> dict[str, Any]:
    """Return the JSON object in ``path``, without its checksum.

    Raises:
        FileNotFoundError: If there is none.
        DamagedFile: If it is damaged; ``remedy`` says what to do.
    """
    return parsed(unsealed(read_file(path), path, remedy), path, remedy)


def parsed(content: bytes, path: Path, remedy: str) -> dict[str, Any]:
    """Return the JSON object in ``content``, which came from ``path``.

    Raises:
        DamagedFile: If it holds none, or one that is nested beyond all measure.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedFile(f"{path} is damaged: not valid JSON ({error}). {remedy}") from None
    if not isinstance(value, dict):
        raise DamagedFile(f"{path} is damaged: a JSON {type(value).__name__}, not an object. {remedy}")
    return value


def finite(value: Any) -> Any:
    """Return plain data with None for every number that is not finite, and lists for tuples."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {key: finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value
