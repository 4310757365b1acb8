"""Digests that pin an experiment to content outside its config: a user's code, a folder's images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from isoprune.experiment.choice import Choice
from isoprune.experiment.network_names import saved_place
from isoprune.types.errors import IsopruneError
from isoprune.types.importing import imported, source_digest

PIN = "@source"  # an option of every function of the user's: the digest of its code, which may change
CONTENT = "@content"  # of a folder of images: the digest of what it holds
PINS = (PIN, CONTENT)


def pinned(kind: str, choice: Choice, key: str) -> dict[str, Any]:
    """Return the options that pin a choice; none for our methods and the libraries' networks.

    Raises:
        IsopruneError: If the choice is pinned to other code, or other images, than there are now.
    """
    return _pinned_code(kind, choice, key) | _pinned_folder(kind, choice, key)


def module_named(name: str) -> Any:
    """Return the module of ``"module:function"``, which the user named.

    Raises:
        IsopruneError: If it cannot be imported.
    """
    module_name = name.partition(":")[0]
    try:
        return imported(module_name)
    except Exception as error:
        raise IsopruneError(
            f"Cannot import {module_name!r} of {name!r}: {type(error).__name__}: {error}. "
            "Start isoprune where the module can be imported, or install it."
        ) from error


def _pinned_code(kind: str, choice: Choice, key: str) -> dict[str, Any]:
    """Return the option that pins the code of a function from elsewhere; none for ours and the libraries'.

    Raises:
        IsopruneError: If the choice is pinned to other code than there is now.
    """
    from isoprune.experiment.foreign_models import LIBRARIES

    own = transform_in(choice) if kind == "data" else ""
    name = own or choice.name
    if kind == "model" and saved_place(name) is not None:
        name = str(choice.options.get("build") or "")
    module, colon, _ = name.partition(":")
    if not colon or (kind == "model" and module in LIBRARIES):
        return {}
    now = source_digest(module_named(name))
    return _unchanged(choice, PIN, now, f"{key}: the code of {name} has changed: its digest", "the old code")


def transform_in(data: Choice) -> str:
    """Return the name of the user's function that makes inputs of images, "" where there is none."""
    name = data.options.get("transform")
    return name if isinstance(name, str) and data.name == "image_folder" and name[:5] != "timm:" else ""


def _pinned_folder(kind: str, choice: Choice, key: str) -> dict[str, Any]:
    """Return the option that pins what a folder of images holds.

    Raises:
        IsopruneError: If the choice is pinned to another content than there is now.
    """
    if kind == "model" and (place := saved_place(choice.name)) is not None:
        from isoprune.export import manifest

        now, pinned = manifest.read(Path(place)).sha256[:16], choice.options.get(CONTENT)
        if pinned not in (None, now):
            raise IsopruneError(
                f"{key}: {place} has other weights than the experiment's: {now}, not {pinned!r:.40}."
            )
        return {CONTENT: now}
    root = choice.options.get("root")
    if kind != "data" or choice.name != "image_folder" or not isinstance(root, str):
        return {}
    from isoprune.data.readable import content_digest

    now = content_digest(Path(root).expanduser())
    return _unchanged(
        choice, CONTENT, now, f"{key}: the images of {root} have changed: their digest", "the old ones"
    )


def _unchanged(choice: Choice, option: str, now: str, changed: str, old: str) -> dict[str, Any]:
    """Return the pin ``now``; raise where the choice has another one."""
    pinned = choice.options.get(option)
    if pinned not in (None, now):
        raise IsopruneError(
            f"{changed} is {now}, the experiment has {pinned!r:.40}. Bring {old} back, or leave out {option} "
            "for a new experiment."
        )
    return {option: now}
