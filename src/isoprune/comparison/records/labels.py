"""What to call the values of a config: names, and the options that tell namesakes apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Flat = Mapping[str, Any]
UNSET = "not set"

# A word for a part of a config -> the keys, or what they begin with.
WORDS: dict[str, tuple[str, ...]] = {
    "repair": ("repair", "rewind"),
    "criterion": ("prune.criterion",),
    "penalty": ("prune.train.penalty", "retrain.penalty"),
    "allocation": ("prune.allocation", "prune.scope", "prune.cap", "prune.floor", "prune.round_to"),
    "distill": ("retrain.distill",),
    "schedule": ("retrain.schedule",),
    "lr": ("retrain.lr",),
    "epochs": ("retrain.epochs", "retrain.steps"),
    "ratio": ("prune.ratio", "prune.flops", "prune.parameters"),
    "model": ("model",),
    "data": ("data",),
    "seed": ("seed",),
}

# What may be told of a run -> where a record has it.
VALUES: dict[str, tuple[str, ...]] = {
    "test_accuracy": ("stages", "retrained", "test_accuracy"),
    "validation_accuracy": ("stages", "retrained", "validation_accuracy"),
    "trainability_accuracy": ("trainability_accuracy",),
    "jsv": ("stages", "retrained", "jsv", "mean"),
}


def path_of(value: str) -> tuple[str, ...]:
    """Return where a record has a value: one of ``VALUES``, or a path as "stages.pruned.jsv.mean"."""
    return VALUES.get(value, tuple(value.split(".")))


def under(key: str, prefix: str) -> bool:
    """Whether ``key`` is ``prefix`` or below it: "repair.gain" is under "repair"."""
    return key == prefix or key.startswith(f"{prefix}.")


def varied(flats: Sequence[Flat], prefixes: Iterable[str]) -> list[str]:
    """Return the keys under ``prefixes`` that are not the same in all runs, sorted."""
    prefixes = tuple(prefixes)
    keys = set().union(*flats)
    chosen = [key for key in keys if any(under(key, prefix) for prefix in prefixes)]
    return sorted(key for key in chosen if len({flat.get(key) for flat in flats}) > 1)


def labels(flats: Sequence[Flat], by: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what to call each run's method: its name, and the options that tell it from its namesakes."""
    wide = [_unchained(flat) for flat in flats]
    parts = [_labels(wide, word, keys) for word, keys in by.items()]
    return [", ".join(dict.fromkeys(own)) for own in zip(*parts, strict=True)]


def _labels(flats: Sequence[Flat], word: str, prefixes: Sequence[str]) -> list[str]:
    keys = set().union(*flats)
    names = sorted(key for key in keys if key.endswith(".name") and key[: -len(".name")] in prefixes)
    own = [tuple(flat.get(key) for key in names) for flat in flats]
    rivals: dict[tuple[Any, ...], list[Flat]] = {}
    for flat, name in zip(flats, own, strict=True):
        rivals.setdefault(name, []).append(flat)
    differing = {
        name: [key for key in varied(group, prefixes) if key not in names] for name, group in rivals.items()
    }
    if names:  # They tell the runs apart first; without them all keys are what the run is called.
        differing = {name: _telling(rivals[name], keys) for name, keys in differing.items()}
    made = []
    for flat, name in zip(flats, own, strict=True):
        called = " ".join(str(part) for part in name if part is not None)
        options = [
            f"{key.split('.')[-1]}={told(flat[key])}" for key in differing[name] if flat.get(key) is not None
        ]
        if names or not options:
            called = called or f"without {word}"
            made.append(f"{called} ({', '.join(options)})" if options else called)
        else:
            made.append(", ".join(options))
    return made


def _telling(flats: Sequence[Flat], keys: Sequence[str]) -> list[str]:
    """Return the keys that tell runs apart; of those set in the same runs, each to one value, only one."""
    kept: dict[Any, str] = {}
    for key in sorted(keys, key=lambda key: (not key.endswith(".epochs"), key)):
        values = [flat.get(key) for flat in flats]
        once = None in values and len(set(values)) == 2
        kept.setdefault(tuple(value is None for value in values) if once else key, key)
    return sorted(kept.values())


def _unchained(flat: Flat) -> Flat:
    """Return the keys with a chain's steps as keys of their own, and their names as its name."""
    steps = [dict(step) for step in flat.get("repair.steps") or ()]
    if not steps:
        return flat
    wide = {key: value for key, value in flat.items() if key != "repair.steps"}
    for i, step in enumerate(steps):
        wide |= {f"repair.{i}.{key}": value for key, value in step.items() if key != "name"}
    return wide | {"repair.name": " + ".join(str(step.get("name")) for step in steps)}


def reading_order(label: str) -> tuple[Any, ...]:
    """Return what sorts labels as people read them: the baseline first, numbers by size, scratch last."""
    base = label.startswith(("none", "without"))
    head, _, tail = label.rpartition("=")
    try:
        size = float(tail)
    except ValueError:
        head, size = label, 0.0
    return label.startswith("scratch"), not base, head, size, label


def told(value: Any) -> str:
    """Return a config's value as one word or a short list."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return "[" + ", ".join(told(item) for item in value) + "]"
    return UNSET if value is None else str(value)
