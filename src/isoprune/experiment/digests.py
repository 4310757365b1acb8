"""What names a result: a digest of everything that it depends on, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

FORMAT = 1  # Raise it when the same config starts to give other bits: old results then keep their names.

# Each stage depends on its own key and on those of the stages before it.
STAGES: dict[str, tuple[str, ...]] = {
    "dense": ("seed", "data", "model", "dense"),
    "pruned": ("seed", "data", "model", "dense", "prune"),
    "repaired": ("seed", "data", "model", "dense", "prune", "rewind", "repair"),
    "retrained": ("seed", "data", "model", "dense", "prune", "rewind", "repair", "retrain"),
}
# Not in a config that does not ask for them, so that its digests are those from before there was the key.
IF_ASKED = frozenset({"rewind"})

# Keys of a training that change how it is watched and kept, not what comes out.
WATCHING = frozenset({"trackers", "checkpoint_steps", "checkpoint_seconds"})


def canonical(value: Any) -> str:
    """Return JSON that is equal for equal values: keys sorted, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def digest(value: Any) -> str:
    """Return 16 hexadecimal digits (64 bits of SHA-256) of a JSON value and the format's version."""
    return hashlib.sha256(canonical({"format": FORMAT, "of": value}).encode()).hexdigest()[:16]


def stage_config(config: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """Return the part of a resolved config that ``stage`` depends on."""
    keys = [key for key in STAGES[stage] if key in config or key not in IF_ASKED]
    return {key: _counted(config[key]) for key in keys}


def _counted(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {key: _counted(inner) for key, inner in value.items() if key not in WATCHING}


def stage_digest(config: Mapping[str, Any], stage: str) -> str:
    return digest({"stage": stage, **stage_config(config, stage)})


def run_digest(config: Mapping[str, Any]) -> str:
    return digest({key: _counted(value) for key, value in config.items()})


def derived_seed(seed: int, stage: str) -> int:
    """Return a seed in [0, 2^63) made from the experiment's seed and the stage's name.

    Each stage has its own stream, so a repair that draws more numbers does not change the order of
    the data that comes after it.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}:{stage}".encode()).digest()[:8]) >> 1
