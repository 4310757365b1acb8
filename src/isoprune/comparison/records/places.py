"""The records of a place: a store, a study of a store, a file, or a URL."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from isoprune.comparison.records.read import RECORD, Outline, Read, load_outlines, load_records
from isoprune.types import printable
from isoprune.types.errors import IsopruneError
from isoprune.types.files import read_file
from isoprune.types.json_files import parsed, unsealed
from isoprune.types.record import Record

Place = str | Path


def read_records(*places: Place) -> list[Record]:
    """Return the records of stores, of studies of a store (those that are finished), or of files; each once.

    Raises:
        IsopruneError: If there is no such place, or a record in it cannot be read.
    """
    return _read(places, load_records)


def read_outlines(*places: Place) -> list[Outline]:
    """Return of the records at ``places`` what a frame is made of; see `read_records`."""
    return _read(places, load_outlines)


def _read(places: Iterable[Place], load: Callable[[list[Path]], list[Read]]) -> list[Read]:
    found = [record for place in places for record in _records_at(place, load)]
    return list({record.digest: record for record in found}.values())


def _records_at(place: Place, load: Callable[[list[Path]], list[Read]]) -> list[Read]:
    path = _local(place)
    if path.suffix == ".toml":
        raise IsopruneError(
            f"{path} is a config, not results. Run it first (isoprune study {path}), then give the store."
        )
    if path.is_dir() or path.name == RECORD or not path.exists():
        return load([path])
    remedy = "Delete it and start its study again; finished runs are kept."
    content = read_file(path)
    if "runs" not in parsed(content, path, remedy):
        return load([path])
    try:
        listing = msgspec.json.decode(unsealed(content, path, remedy), type=Listing)
    except msgspec.ValidationError as error:
        raise IsopruneError(
            f"{path} is not a list of runs as isoprune writes it ({error}). {remedy}"
        ) from None
    runs = path.parent.resolve().parent / "runs"  # ROOT/studies/<name>.json
    files = [runs / digest / RECORD for digest in listing.runs]
    finished = [file for file in files if file.exists()]
    if not finished:
        raise IsopruneError(
            f"No run of {path} is finished. Start it: isoprune study {printable.name(listing.name)}.toml."
        )
    # A run that two studies share bears the name of the one that ran it first.
    return [replace(record, name=printable.name(listing.name)) for record in load(finished)]


class Listing(Struct, frozen=True):
    """Which runs a study consists of."""

    name: str
    runs: list[Annotated[str, Meta(pattern=r"^\w+$")]]


def _local(place: Place) -> Path:
    if "://" not in str(place):
        return Path(place)
    from isoprune.experiment.mirror import local  # fsspec, which a path does not need

    return local(place)
