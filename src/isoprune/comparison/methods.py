"""Which config keys are the method that is compared, and the labels of its values."""

from __future__ import annotations

from collections.abc import Sequence

from isoprune.comparison.records import WORDS, Runs, under, words_of
from isoprune.types.errors import IsopruneError, did_you_mean

FAMILIES = {word: keys for word, keys in WORDS.items() if word not in ("model", "data", "seed")}
# Where nothing is said, these together, or else the first of the others that is not the same everywhere.
_PRUNING = ("repair", "criterion", "penalty", "allocation")


def read_by(by: str | Sequence[str] | None, runs: Runs) -> dict[str, tuple[str, ...]]:
    """Return what is compared: words and their keys.

    Args:
        by: Words of ``FAMILIES`` or keys of a config, several separated by commas; None: what differs.

    Raises:
        IsopruneError: If there is no such key, or nothing differs.
    """
    words = words_of(by)
    chosen: dict[str, tuple[str, ...]] = {}
    for word in words:
        if word == "seed" or under(word, "data"):
            raise IsopruneError(
                f"Runs are not compared by {word}: it must be the same in both. Give a method."
            )
        if word not in FAMILIES and not runs.below([word]):
            raise IsopruneError(f"Nothing to compare by: unknown {word!r}.{did_you_mean(word, FAMILIES)}")
        chosen[word] = FAMILIES.get(word, (word,))
    differing = {
        word: keys
        for word, keys in (chosen or FAMILIES).items()
        if any(under(key, prefix) for key in runs.varied for prefix in keys)
    }
    if not differing:
        what = (
            f"{' and '.join(chosen)} is" if words else "All that can be compared (repair, criterion, ...) is"
        )
        raise IsopruneError(
            f"{what} the same in all {len(runs)} runs, so there is nothing to compare. Give runs of two "
            "methods at least, or say by what to compare (--by)."
        )
    if words:
        return differing
    return {word: keys for word, keys in differing.items() if word in _PRUNING} or dict(
        [next(iter(differing.items()))]
    )
