"""A method and its options as a config writes them: a name, a table with a name, or a chain of them."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from typing import Any

from isoprune.types.errors import IsopruneError


class Choice:
    """A method and its options: ``"taylor"`` or ``{name = "taylor", batches = 8}``.

    Not a dataclass: msgspec would read one by itself, and know nothing of the short spelling.
    """

    def __init__(self, name: str, options: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self.options: Mapping[str, Any] = {} if options is None else options

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Choice) and (self.name, self.options) == (other.name, other.options)

    __hash__ = None  # pyright: ignore[reportAssignmentType]  options are a dict

    def __repr__(self) -> str:
        return f"Choice({self.name!r}, {self.options!r})"

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, **self.options}

    @classmethod
    def read(cls, value: Any) -> Choice:
        """Return the choice in a file's value; options are checked once the method is known.

        Raises:
            IsopruneError: If it says none. The message begins where the key's name ends.
        """
        table = {"name": value} if isinstance(value, str) else value
        if not isinstance(table, Mapping):
            came = f"{value!r} ({type(value).__name__})"
            raise IsopruneError(
                f' must be a name or a table with a name, not {came}. Write {{name = "..."}}.'
            )
        if not isinstance(table.get("name"), str):
            raise IsopruneError(' has no name. Write {name = "..."}, with its options beside the name.')
        options = {k: v for k, v in table.items() if k != "name"}
        for option, v in options.items():
            _plain(v, f".{option}")
        return cls(table["name"], options)


class Chain(Choice):
    """A choice, or a list of them that are done one after the other: the choice ``chain``."""

    @classmethod
    def read(cls, value: Any) -> Choice:
        if not isinstance(value, list | tuple):
            return super().read(value)
        steps = []
        for i, one in enumerate(value):
            try:
                steps.append(Choice.read(one).as_dict())
            except IsopruneError as error:
                raise IsopruneError(f"[{i}]{error}") from None
        return cls("chain", {"steps": steps})


def choice(value: Any, key: str) -> Choice:
    """Return the choice that stands at ``key``."""
    try:
        return Choice.read(value)
    except IsopruneError as error:
        raise IsopruneError(f"{key}{error}") from None


def read_choice(text: str, flag: str, example: str) -> Choice:
    """Return a choice as the command line spells it: a name, or a TOML table such as ``example``."""
    if not text.startswith("{"):
        return Choice(text)
    try:
        value = tomllib.loads(f"value = {text}")["value"]
        # A folder of images says how they become inputs, and needs no name beside its root.
        unnamed = isinstance(value, dict) and "root" in value and "name" not in value
        return choice({"name": "image_folder", **value} if unnamed else value, flag)
    except (tomllib.TOMLDecodeError, RecursionError):
        raise IsopruneError(
            f"{flag} {text} is not a TOML table. Quote it for the shell: {flag} '{example}'."
        ) from None


def _plain(value: Any, key: str) -> None:
    """Refuse what JSON cannot hold: dates, NaN, infinity."""
    if isinstance(value, Mapping):
        for k, v in value.items():
            _plain(v, f"{key}.{k}")
    elif isinstance(value, list | tuple):
        for v in value:
            _plain(v, key)
    elif not isinstance(value, str | bool | int | float) and value is not None:
        raise IsopruneError(
            f"{key} is {value!r} ({type(value).__name__}); an option is a string, a number, true/false, "
            "a list or a table."
        )
    elif isinstance(value, float) and not math.isfinite(value):
        raise IsopruneError(f"{key} is {value}; give a finite number.")
