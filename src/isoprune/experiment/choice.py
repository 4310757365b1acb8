"""A method and its options as a config writes them: a name, a table with a name, or a chain of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from isoprune.experiment.readers import got
from isoprune.types.errors import IsopruneError


@dataclass(frozen=True)
class Choice:
    """A method and its options: ``"taylor"`` or ``{name = "taylor", batches = 8}``."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, **self.options}


def choice(value: Any, key: str) -> Choice:
    """Read a choice; the options are checked when the method is known (`choice.resolve`)."""
    table = {"name": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping):
        raise IsopruneError(
            f'{key} must be a name or a table with a name, not {got(value)}. Write {key} = {{name = "..."}}.'
        )
    if not isinstance(table.get("name"), str):
        raise IsopruneError(
            f'{key} has no name. Write {key} = {{name = "..."}}, with its options beside the name.'
        )
    options = {k: v for k, v in table.items() if k != "name"}
    for option, v in options.items():
        _plain(v, f"{key}.{option}")
    return Choice(table["name"], options)


def chain(value: Any, key: str) -> Choice:
    """Read a choice, or a list of them that are done one after the other: the choice ``chain``."""
    if not isinstance(value, list):
        return choice(value, key)
    return Choice("chain", {"steps": [choice(v, f"{key}[{i}]").as_dict() for i, v in enumerate(value)]})


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
            f"{key} is {got(value)}; an option is a string, a number, true/false, a list or a table."
        )
    elif isinstance(value, float) and not math.isfinite(value):
        raise IsopruneError(f"{key} is {value}; give a finite number.")
