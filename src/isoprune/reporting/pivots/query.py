"""Which runs a table is made of, along which keys, and which of their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import polars as pl

from isoprune.comparison.records import VALUES, WORDS, Number, Runs, labels, runs_of, under, varied, written
from isoprune.types.errors import IsopruneError, did_you_mean

SPREADS = ("std", "interval", "none")
# A table may set runs side by side that no comparison may: pruned by training, and in one shot.
_ALSO = {"penalty": ("prune.train",)}


def select(records: Any, value: str, where: Mapping[str, str]) -> tuple[Runs, list[Number], list[str]]:
    """Return the finished runs that fit ``where`` and have the value, their values, and what was left out.

    Args:
        records: Of any runs, or their frame.
        value: A word of ``VALUES``, or a number by its role, as "pruned.jsv.mean".
        where: Word or key -> the values that it may have, separated by commas.

    Raises:
        IsopruneError: If a record is none, a word is unknown, or no run is left.
    """
    runs = runs_of(records)
    left_out = _left_out(runs.unfinished, "not finished")
    for word, wanted in where.items():
        rest = runs.where(_matching(runs, word, wanted))
        left_out += _left_out(len(runs) - len(rest), f"not of {word} = {wanted}")
        runs = rest
    numbers = runs.numbers(value)
    having = runs.where(numbers.is_not_null())
    if not len(having):
        raise IsopruneError(f"None of {len(runs)} runs has a number {value!r}.{_instead(value, runs)}")
    left_out += _left_out(len(runs) - len(having), f"without {value}")
    return having, numbers.drop_nulls().to_list(), left_out


def _instead(value: str, runs: Runs) -> str:
    """Return which numbers of this kind there are, or what was probably meant."""
    there = sorted(column for column in runs.frame.columns if runs.numbers(column).count())
    alike = [column for column in there if column.endswith(VALUES.get(value, f".{value}").partition(".")[2])]
    if alike:
        return f" There is: {', '.join(alike)}."
    return did_you_mean(value, [*get_close_matches(value, there), *VALUES])


def _left_out(n: int, why: str) -> list[str]:
    return [f"{n} run{'s' if n != 1 else ''} left out: {why}."] if n else []


def _matching(runs: Runs, word: str, wanted: str) -> pl.Series:
    """Return which runs have one of the values that are wanted of a word or key."""
    prefixes = keys_of(word, runs)
    keys = runs.below(prefixes)
    # A word of a method is its name; a number may be written in any way.
    named = [key for key in keys if key in prefixes or key.removesuffix(".name") in prefixes] or keys
    texts = {text.strip() for text in wanted.split(",")}
    numbers = {float(text) for text in texts if _is_number(text)}
    there, codes = runs.kinds(named)

    def matches(value: Any) -> bool:
        number = value if isinstance(value, int | float) else None
        return value is not None and (written(value) in texts or number in numbers)

    fitting = [any(matches(value) for value in flat.values()) for flat in there]
    if not any(fitting):
        values = sorted({written(v) for flat in there for v in flat.values() if v is not None})
        raise IsopruneError(f"No run of {len(runs)} has {word} = {wanted}. There is: {', '.join(values)}.")
    return pl.Series([fitting[code] for code in codes])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def keys_of(word: str, runs: Runs) -> tuple[str, ...]:
    """Return the keys that a word stands for, or what they begin with.

    Raises:
        IsopruneError: If it is neither a word nor a key of any run.
    """
    if word in WORDS:
        return (*WORDS[word], *_ALSO.get(word, ()))
    if not runs.below([word]):
        raise IsopruneError(f"Unknown {word!r}.{did_you_mean(word, [*WORDS, *sorted(runs.keys)])}")
    return (word,)


def along(runs: Runs, word: str) -> list[str]:
    """Return what each run is called along ``word``: "0.9" of a ratio, "polar (gain=1)" of a repair."""
    prefixes = keys_of(word, runs)
    flats, codes = runs.kinds(runs.below(prefixes))
    keys = varied(flats, flats[0]) or list(flats[0])
    only = keys[0] if len(keys) == 1 else ""
    named = only in prefixes or only.removesuffix(".name") in prefixes
    values = [flat.get(only) for flat in flats]
    names = [written(v) for v in values] if named and None not in values else labels(flats, {word: prefixes})
    return [names[code] for code in codes]


def is_of(key: str, word: str, runs: Runs) -> bool:
    """Whether a key of a config belongs to a word."""
    return any(under(key, prefix) for prefix in keys_of(word, runs))
