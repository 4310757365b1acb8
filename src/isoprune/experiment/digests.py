"""What names a result: a digest of everything that it depends on, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from isoprune.types.config_keys import WATCHING

FORMAT = 2  # Raise it when the same config starts to give other bits: old results then keep their names.

_CALLED = "role"  # and what its network is called


def canonical(value: Any) -> str:
    """Return JSON that is equal for equal values: keys sorted, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def digest(value: Any) -> str:
    """Return 16 hexadecimal digits (64 bits of SHA-256) of a JSON value and the format's version."""
    return hashlib.sha256(canonical({"format": FORMAT, "of": value}).encode()).hexdigest()[:16]


def counted(value: Any) -> Any:
    """Return the part of a config that results depend on."""
    if isinstance(value, Mapping):
        return {key: counted(inner) for key, inner in value.items() if key not in (*WATCHING, _CALLED)}
    return [counted(inner) for inner in value] if isinstance(value, list | tuple) else value


def run_digest(config: Mapping[str, Any]) -> str:
    return digest(counted(config))
