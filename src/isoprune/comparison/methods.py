"""Which keys are the method that is compared, and what to call each of its values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from isoprune.comparison.records import WORDS, under, varied
from isoprune.types.errors import IsopruneError, did_you_mean

Flat = Mapping[str, Any]

FAMILIES = {word: keys for word, keys in WORDS.items() if word not in ("model", "data", "seed")}
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
