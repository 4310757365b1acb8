"""What is asked of records: which of them, along which keys, and which of their numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from isoprune.comparison.records import (
    VALUES,
    WORDS,
    Number,
    Record,
    check_records,
    flatten,
    labels,
    number,
    path_of,
    told,
    under,
    varied,
)
from isoprune.types.errors import IsopruneError, did_you_mean

Flat = Mapping[str, Any]
SPREADS = ("std", "interval", "none")
# A table may set runs side by side that no comparison may: pruned by training, and in one shot.
_ALSO = {"penalty": ("prune.train",)}
_LOOKED = 100  # records in which other numbers are looked for


@dataclass(frozen=True)
class Row:
    """One run: its config with dotted keys, and the number that is asked of it."""

    flat: Flat
    value: Number


def chosen(records: Sequence[Record], value: str, where: Mapping[str, str]) -> tuple[list[Row], list[str]]:
    """Return the finished runs that are asked for and have the value, and what was left out, in words.

    Args:
        records: Of any runs.
        value: A word of ``VALUES``, or where a record has a number, as "stages.pruned.jsv.mean".
        where: Word or key -> the values that it may have, separated by commas.

    Raises:
        IsopruneError: If a record is none, a word is unknown, or no run is left.
    """
    finished = check_records(records)
    left_out = _said(len(records) - len(finished), "not finished")
    flats = [flatten(record["config"]) for record in finished]
    for word, wanted in where.items():
        keep = _matching(flats, word, wanted)
        left_out += _said(len(flats) - sum(keep), f"not of {word} = {wanted}")
        finished = [record for record, kept in zip(finished, keep, strict=True) if kept]
        flats = [flat for flat, kept in zip(flats, keep, strict=True) if kept]
    path = path_of(value)
    found = [
        Row(flat, v)
        for flat, record in zip(flats, finished, strict=True)
        if (v := number(record, *path)) is not None
    ]
    if not found:
        raise IsopruneError(f"None of {len(flats)} runs has a number {value!r}.{_instead(value, finished)}")
    return found, left_out + _said(len(flats) - len(found), f"without {value}")


def _instead(value: str, records: Sequence[Record]) -> str:
    """Return where the records have a number of this kind, or what was probably meant."""
    there = sorted({".".join(path) for record in records[:_LOOKED] for path in _numbers(record)})
    leaf = path_of(value)[-2:] if value == "jsv" else path_of(value)[-1:]
    alike = [path for path in there if tuple(path.split("."))[-len(leaf) :] == leaf]
    if alike:
        return f" There is: {', '.join(alike)}."
    return did_you_mean(value, [*get_close_matches(value, there), *VALUES])


def _numbers(table: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, value in table.items():
        if key == "config":
            continue
        if isinstance(value, Mapping):
            yield from ((key, *path) for path in _numbers(value))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield (key,)


def _said(n: int, why: str) -> list[str]:
    return [f"{n} run{'s' if n != 1 else ''} left out: {why}."] if n else []


def _matching(flats: Sequence[Flat], word: str, wanted: str) -> list[bool]:
    prefixes = keys_of(word, flats)
    keys = {key for key in known(flats) if any(under(key, prefix) for prefix in prefixes)}
    # A word of a method is its name; a number may be written in any way.
    named = {key for key in keys if key in prefixes or key.removesuffix(".name") in prefixes} or keys
    texts = [text.strip() for text in wanted.split(",")]
    numbers = {float(text) for text in texts if _is_number(text)}

    def fits(flat: Flat) -> bool:
        for key in named:
            value = flat.get(key)
            if isinstance(value, int | float) and not isinstance(value, bool) and value in numbers:
                return True
            if value is not None and told(value) in texts:
                return True
        return False

    keep = [fits(flat) for flat in flats]
    if not any(keep):
        there = {value for flat in flats for key in named if (value := flat.get(key)) is not None}
        raise IsopruneError(
            f"No run of {len(flats)} has {word} = {wanted}. There is: {', '.join(sorted(map(told, there)))}."
        )
    return keep


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def keys_of(word: str, flats: Sequence[Flat]) -> tuple[str, ...]:
    """Return the keys that a word stands for, or what they begin with.

    Raises:
        IsopruneError: If it is neither a word nor a key of any run.
    """
    if word in WORDS:
        return (*WORDS[word], *_ALSO.get(word, ()))
    keys = known(flats)
    if not any(under(key, word) for key in keys):
        raise IsopruneError(f"Unknown {word!r}.{did_you_mean(word, [*WORDS, *sorted(keys)])}")
    return (word,)


def known(flats: Sequence[Flat]) -> set[str]:
    """Return the keys that any run has."""
    return set().union(*flats)


def along(flats: Sequence[Flat], word: str) -> list[str]:
    """Return what each run is called along ``word``: "0.9" of a ratio, "polar (gain=1)" of a repair."""
    prefixes = keys_of(word, flats)
    keys = sorted(key for key in known(flats) if any(under(key, prefix) for prefix in prefixes))
    own = [tuple(flat.get(key) for key in keys) for flat in flats]
    unique = list(dict.fromkeys(own))
    named = dict(
        zip(unique, _named([dict(zip(keys, u, strict=True)) for u in unique], word, prefixes), strict=True)
    )
    return [named[values] for values in own]


def _named(flats: Sequence[Flat], word: str, prefixes: Sequence[str]) -> list[str]:
    keys = varied(flats, prefixes) or list(flats[0])
    named = len(keys) == 1 and (keys[0] in prefixes or keys[0].removesuffix(".name") in prefixes)
    values = [flat.get(keys[0]) for flat in flats] if named else [None]
    return labels(flats, {word: prefixes}) if None in values else [told(value) for value in values]
