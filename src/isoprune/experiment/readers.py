"""Readers of a config's values: each checks type and range, and says in its error what to write."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from isoprune.types.errors import IsopruneError, did_you_mean

Reader = Callable[[Any, str], Any]  # (value, dotted key) -> checked value


def got(value: Any) -> str:
    return f"{value!r} ({type(value).__name__})"


def whole(least: int) -> Reader:
    """Return a reader of whole numbers >= ``least``; true and 3.0 are not whole numbers here."""

    def read(value: Any, key: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise IsopruneError(
                f"{key} must be a whole number, not {got(value)}. Write for example {key} = {least}."
            )
        if value < least:
            raise IsopruneError(f"{key} is {value}, but must be at least {least}.")
        return value

    return read


def number(low: float, high: float = math.inf, *, above: bool = False, closed: bool = False) -> Reader:
    """Return a reader of finite numbers in [low, high): without low if ``above``, with high if ``closed``."""
    interval = f"{'(' if above else '['}{low:g}, {high:g}{']' if closed else ')'}"

    def read(value: Any, key: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise IsopruneError(f"{key} must be a number, not {got(value)}. Write for example {key} = 0.1.")
        inside = (low < value if above else low <= value) and (value <= high if closed else value < high)
        if not inside or not math.isfinite(value):
            hint = " It is the fraction that is removed: 0.8 keeps a fifth." if key.endswith("ratio") else ""
            raise IsopruneError(f"{key} is {value:g}, outside {interval}.{hint}")
        return float(value)

    return read


def optional(read: Reader) -> Reader:
    """Return a reader that also takes the null of a record's config: the key was not given."""
    return lambda value, key: None if value is None else read(value, key)


def one_of(*words: str) -> Reader:
    """Return a reader of one of a few words."""

    def read(value: Any, key: str) -> str:
        if value not in words:
            known = ", ".join(words)
            guess = did_you_mean(value, words) if isinstance(value, str) else f" Known: {known}."
            raise IsopruneError(f"{key} is {got(value)}.{guess}")
        return value

    return read


def flag(value: Any, key: str) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise IsopruneError(f"{key} must be true or false, not {got(value)}. Write {key} = true.")
    return value


def words(value: Any, key: str) -> tuple[str, ...]:
    """Read a list of words."""
    if not isinstance(value, list | tuple) or not all(isinstance(word, str) for word in value):
        raise IsopruneError(f'{key} must be a list of names, not {got(value)}. Write {key} = ["..."].')
    return tuple(value)


def by(read: Reader | type) -> dict[str, Any]:
    """Return the metadata of a field that ``read`` reads: a reader, or the frozen data of a table."""
    return {"read": read}
