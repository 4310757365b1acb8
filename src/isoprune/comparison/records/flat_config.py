"""A record's config as flat keys, and the numbers deep in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Number = float | int
_CHOICES = ("data", "model", "prune.criterion", "repair", "retrain.penalty", "prune.train.penalty")


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with dotted keys; a choice given as a word is its ``name``. Values can be compared."""
    flat: dict[str, Any] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, f"{path}.{key}" if path else str(key))
        elif path == "repair" and isinstance(value, list | tuple):
            flat["repair.name"] = "chain"
            flat["repair.steps"] = tuple(_frozen(v if isinstance(v, Mapping) else {"name": v}) for v in value)
        elif path in _CHOICES or path.split(".")[-1] == "schedule":
            flat[f"{path}.name"] = value
        else:
            flat[path] = _frozen(value)

    walk(config, "")
    return flat


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(sorted((key, _frozen(inner)) for key, inner in value.items()))
    return tuple(_frozen(inner) for inner in value) if isinstance(value, list | tuple) else value


def number(table: Any, *path: str) -> Number | None:
    """Return a finite number deep in a record; None where there is none."""
    for key in path:
        table = table.get(key) if isinstance(table, Mapping) else None
    good = isinstance(table, int | float) and not isinstance(table, bool) and math.isfinite(table)
    return table if good else None
