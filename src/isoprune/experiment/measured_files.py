"""Numbers of a network in a file beside it: all runs that share the network measure it once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from isoprune.experiment.validation import plain, read
from isoprune.types import IsopruneError
from isoprune.types.files import DamagedFile
from isoprune.types.json_files import read_json, write_json

T = TypeVar("T")


def measured_once(path: Path, kind: type[T], measure: Callable[[], T], say: Callable[[str], object]) -> T:
    """Return the numbers in a file of a network's folder; if there are none, those that ``measure`` gives.

    What is damaged is measured again, and said.
    """
    try:
        return _read(path, kind)
    except FileNotFoundError:
        pass
    except DamagedFile as error:
        say(f"{error} It is measured again now.")
    write_json(path, {"of": path.parent.name, **plain(measure())})
    # As a later run will read it, so that the record does not depend on who measured.
    return _read(path, kind)


def _read(path: Path, kind: type[T]) -> T:
    facts: dict[str, Any] = read_json(path, remedy="")
    if facts.pop("of", None) != path.parent.name:
        raise DamagedFile(f"{path} is damaged: it is of another network.")
    try:
        return read(kind, facts)
    except IsopruneError as error:
        raise DamagedFile(f"{path} is damaged: {error}") from None
