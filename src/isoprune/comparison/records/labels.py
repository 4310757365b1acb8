"""Labels of a config's values: names, and the options that distinguish equal names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from isoprune.comparison.records.flat_config import Flat, under, written

# A word for a part of a config -> the keys, or what they begin with.
WORDS: dict[str, tuple[str, ...]] = {
    "repair": ("repair", "rewind"),
    "criterion": ("prune.criterion",),
    "penalty": ("prune.train.penalty", "retrain.penalty"),
    "allocation": ("prune.allocation", "prune.scope", "prune.cap", "prune.floor", "prune.round_to"),
    "distill": ("retrain.distill",),
    "schedule": ("retrain.schedule",),
    "lr": ("retrain.lr",),
    "optimizer": ("retrain.optimizer",),
    "epochs": ("retrain.epochs", "retrain.steps"),
    "ratio": ("prune.ratio", "prune.flops", "prune.parameters"),
    "model": ("model",),
    "data": ("data",),
    "seed": ("seed",),
}


def words_of(given: str | Sequence[str] | None) -> list[str]:
    """Return the words of a text with commas, or those of several."""
    words = given.split(",") if isinstance(given, str) else given or ()
    return [word.strip() for word in words if word.strip()]


def varied(flats: Sequence[Flat], keys: Iterable[str]) -> list[str]:
    """Return those of ``keys`` that are not the same in all of ``flats``."""
    return [key for key in keys if len({flat.get(key) for flat in flats}) > 1]


def distinguishing_keys(
    flats: Sequence[Flat], names: Sequence[Any], keys: Sequence[str]
) -> dict[Any, list[str]]:
    """Return, for each name, those of ``keys`` whose values differ among its runs."""
    bearers: dict[Any, list[Flat]] = {}
    for flat, name in zip(flats, names, strict=True):
        bearers.setdefault(name, []).append(flat)
    return {name: varied(group, keys) for name, group in bearers.items()}


def labels_apart(
    flats: Sequence[Flat], names: Sequence[str], keys: Sequence[str], option: Callable[[str, Any], str]
) -> list[str]:
    """Return names with the options in brackets that distinguish equal names; without a name these alone."""
    differing = distinguishing_keys(flats, names, keys)
    made = []
    for flat, name in zip(flats, names, strict=True):
        options = ", ".join(option(key, flat.get(key)) for key in differing[name])
        made.append(f"{name} ({options})" if name and options else name or options)
    return made


def labels(flats: Sequence[Flat], by: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what to call each run's method: its name, and the options that tell it from its namesakes."""
    parts = [_labels(flats, word, prefixes) for word, prefixes in by.items()]
    return [", ".join(dict.fromkeys(own)) for own in zip(*parts, strict=True)]


def _labels(flats: Sequence[Flat], word: str, prefixes: Sequence[str]) -> list[str]:
    keys = sorted({key for flat in flats for key in flat if any(under(key, p) for p in prefixes)})
    names = [key for key in keys if key.endswith(".name") and key.removesuffix(".name") in prefixes]
    own = [tuple(flat.get(key) for key in names) for flat in flats]
    differing = distinguishing_keys(flats, own, [key for key in keys if key not in names])
    if names:  # They tell the runs apart first; without them all keys are what the run is called.
        differing = {
            name: _telling([flat for flat, other in zip(flats, own, strict=True) if other == name], keys)
            for name, keys in differing.items()
        }
    made = []
    for flat, name in zip(flats, own, strict=True):
        called = " ".join(str(part) for part in name if part is not None)
        options = [
            f"{key.rpartition('.')[2]}={written(flat[key])}"
            for key in differing[name]
            if flat.get(key) is not None
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


def reading_order(label: str) -> tuple[Any, ...]:
    """Return what sorts labels as people read them: the baseline first, numbers by size, scratch last."""
    base = label.startswith(("none", "without"))
    head, _, tail = label.rpartition("=")
    try:
        size = float(tail)
    except ValueError:
        head, size = label, 0.0
    return label.startswith("scratch"), not base, head, size, label
