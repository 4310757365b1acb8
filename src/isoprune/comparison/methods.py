"""Which keys are the method that is compared, and what to call each of its values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from isoprune.comparison.grade import UNSET
from isoprune.comparison.setups import under
from isoprune.errors import IsopruneError, did_you_mean

Flat = Mapping[str, Any]

# A word for what may be compared -> the keys, or what they begin with.
FAMILIES: dict[str, tuple[str, ...]] = {
    "repair": ("repair", "rewind"),
    "criterion": ("prune.criterion",),
    "penalty": ("prune.train.penalty", "retrain.penalty"),
    "allocation": ("prune.allocation", "prune.scope", "prune.cap", "prune.floor", "prune.round_to"),
    "distill": ("retrain.distill",),
    "schedule": ("retrain.schedule",),
    "lr": ("retrain.lr",),
    "epochs": ("retrain.epochs", "retrain.steps"),
    "ratio": ("prune.ratio", "prune.flops", "prune.parameters"),
}
# Where nothing is said, these together, or else the first of the others that is not the same everywhere.
_PRUNING = ("repair", "criterion", "penalty", "allocation")


def read_by(by: str | Sequence[str] | None, flats: Sequence[Flat]) -> dict[str, tuple[str, ...]]:
    """Return what is compared: words and their keys.

    Args:
        by: Words of ``FAMILIES`` or keys of a config, several separated by commas; None: what differs.
        flats: Of all runs.

    Raises:
        IsopruneError: If there is no such key, or nothing differs.
    """
    words = by.split(",") if isinstance(by, str) else list(by or ())
    words = [word.strip() for word in words if word.strip()]
    known = {key for flat in flats for key in flat}
    found: dict[str, tuple[str, ...]] = {}
    for word in words:
        if word == "seed" or under(word, "data"):
            raise IsopruneError(
                f"Runs are not compared by {word}: it must be the same in both. Give a method."
            )
        if word not in FAMILIES and not any(under(key, word) for key in known):
            raise IsopruneError(f"Nothing to compare by: unknown {word!r}.{did_you_mean(word, FAMILIES)}")
        found[word] = FAMILIES.get(word, (word,))
    if not words:
        differing = [word for word, keys in FAMILIES.items() if varied(flats, keys)]
        words = [word for word in differing if word in _PRUNING] or differing[:1]
        found = {word: FAMILIES[word] for word in words}
    if not any(varied(flats, keys) for keys in found.values()):
        what = (
            f"{' and '.join(found)} is" if words else "All that can be compared (repair, criterion, ...) is"
        )
        raise IsopruneError(
            f"{what} the same in all {len(flats)} runs, so there is nothing to compare. Give runs of two "
            "methods at least, or say by what to compare (--by)."
        )
    return {word: keys for word, keys in found.items() if varied(flats, keys)}


def varied(flats: Sequence[Flat], prefixes: Iterable[str]) -> list[str]:
    """Return the keys under ``prefixes`` that are not the same in all runs, sorted."""
    prefixes = tuple(prefixes)
    keys = {key for flat in flats for key in flat if any(under(key, prefix) for prefix in prefixes)}
    return sorted(key for key in keys if len({flat.get(key) for flat in flats}) > 1)


def labels(flats: Sequence[Flat], by: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what to call each run's method: its name, and the options that tell it from its namesakes."""
    wide = [_unchained(flat) for flat in flats]
    parts = [[_label(flat, wide, word, keys) for word, keys in by.items()] for flat in wide]
    return [", ".join(dict.fromkeys(own)) for own in parts]


def _label(flat: Flat, flats: Sequence[Flat], word: str, prefixes: Sequence[str]) -> str:
    names = sorted(key for key in flat if key.endswith(".name") and key[: -len(".name")] in prefixes)
    name = " ".join(str(flat[key]) for key in names)
    rivals = [f for f in flats if all(f.get(key) == flat.get(key) for key in names)]
    options = [
        f"{key.split('.')[-1]}={told(flat[key])}"
        for key in varied(rivals, prefixes)
        if key not in names and flat.get(key) is not None
    ]
    if name:
        return f"{name} ({', '.join(options)})" if options else name
    return ", ".join(options) or f"without {word}"


def _unchained(flat: Flat) -> dict[str, Any]:
    """Return the keys with a chain's steps as keys of their own, and their names as its name."""
    steps = [dict(step) for step in flat.get("repair.steps") or ()]
    if not steps:
        return dict(flat)
    wide = {key: value for key, value in flat.items() if key != "repair.steps"}
    for i, step in enumerate(steps):
        wide |= {f"repair.{i}.{key}": value for key, value in step.items() if key != "name"}
    return wide | {"repair.name": " + ".join(str(step.get("name")) for step in steps)}


def told(value: Any) -> str:
    """Return a config's value as one word or a short list."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return "[" + ", ".join(told(item) for item in value) + "]"
    return UNSET if value is None else str(value)
