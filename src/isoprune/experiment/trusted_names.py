"""Which names in a file may be imported: our tables, trusted zoos, and what the user named as well.

A folder or a record may come from anybody. To call the function that it names would run that one's code, or
any function of an installed package with arguments of that one's choice.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from isoprune.experiment.choice import Choice
from isoprune.experiment.foreign_models import LIBRARIES
from isoprune.experiment.network_names import saved_place
from isoprune.experiment.pins import transform_in
from isoprune.types.errors import IsopruneError

# Of a transformers' config in a file: a type and numbers. A string can name a file, a kernel or a repository.
_NUMBERS = re.compile(r"\w[\w.-]*(,[a-z]\w*=(-?\d+(\.\d+)?|true|false))*")
_FETCHES = ("pretrained", "quantization")


def trusted(kind: str, choice: Choice, where: str, named: Collection[str] = ()) -> Choice:
    """Return a choice that was read from a file, if it calls nothing but trusted code.

    Args:
        kind: "model" or "data".
        where: The file or folder, for the message.
        named: What the user wrote in this command, or in the config that he gave.

    Raises:
        IsopruneError: If it names a function that the user did not name.
    """
    name = (kind == "data" and transform_in(choice)) or choice.name
    if kind == "model" and saved_place(name) is not None:  # of the folder itself, `named_network` judges
        name = str(choice.options.get("build") or "")
    if ":" not in name or name in named or (kind == "model" and is_zoo(name)):
        return choice
    flag = "--build" if kind == "model" else "--data"
    said = (
        name if kind == "model" or name == choice.name else f'\'{{root = "...", transform = "{name:.120}"}}\''
    )
    raise IsopruneError(
        f"{where} says that its {kind} is made by {name!r:.120}. A file may come from anybody, so "
        f"that is not called. If you know that function, name it yourself: {flag} {said:.180}"
    )


def is_zoo(name: str) -> bool:
    """Return whether a name out of a file is one of a trusted zoo, with nothing in it but numbers."""
    zoo, _, entry = name.partition(":")
    if zoo == "transformers":
        fetches = any(word in entry for word in _FETCHES)
        return _NUMBERS.fullmatch(entry) is not None and not fetches
    # Their builders make networks out of data, and are looked up in the registry of builders only.
    return zoo in LIBRARIES and re.fullmatch(r"\w[\w.-]*", entry) is not None
