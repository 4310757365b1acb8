"""What a network can be called by; known without loading torch."""

from __future__ import annotations

import os
from pathlib import Path

from isoprune.types.errors import SOURCES, IsopruneError, check_known
from isoprune.types.record import ROLES

RECIPE, NETWORK, RUNS = (
    "recipe.json",
    "network",
    "runs",
)  # of a delivery: what was asked, what came, all steps


def check_network(name: str, stage: str | None = None) -> None:
    """Raise unless a file has that name or it may name a source; and for an unknown stage."""
    if stage is not None and not is_record(name):
        check_known(stage, ROLES, "stage")
    if "\0" in name:
        raise IsopruneError(f"{name!r} is no path: it holds a NUL.")
    path = Path(name)
    # Where a saved network is if its replacement was killed half-way.
    place = Path(os.path.realpath(path))  # which a link to itself does not stop
    aside = place.with_name(f".{place.name}.replaced") if place.name else place
    if ":" not in name and not os.path.lexists(path) and not aside.exists():
        raise IsopruneError(
            f"No {name}. Give a record.json, or a folder like runs/networks/<digest>, or one that isoprune "
            f"prune saved, or {SOURCES}."
        )


def is_delivery(path: Path) -> bool:
    """Return whether it is the folder of `isoprune prune --data`: a recipe, its record and its own store."""
    return (path / RECIPE).is_file() and (path / "record.json").is_file()


def is_folder(name: str) -> bool:
    """Return whether it names a saved network's folder, or a delivery's, and no source."""
    path = Path(name)
    return ":" not in name and path.is_dir() and ((path / "plan.json").is_file() or is_delivery(path))


SAVED = "saved:"  # before a folder, where a network is called by its source


def saved_name(name: str) -> str:
    """Return how an experiment calls the network of a saved folder, or of a delivery's."""
    path = Path(name)
    return f"{SAVED}{path / NETWORK if is_delivery(path) else path}"


def saved_place(name: str) -> str | None:
    """Return the folder of a name that `saved_name` made; None of any other."""
    return name.removeprefix(SAVED) if name.startswith(SAVED) else None


def is_record(name: str) -> bool:
    """Return whether it names a record, which holds networks of several stages."""
    path = Path(name)
    return path.suffix == ".json" or (path / "record.json").exists()


def is_source(name: str | None) -> bool:
    """Return whether it names a function or a library's network, and no file."""
    return name is not None and ":" in name and not Path(name).exists()
