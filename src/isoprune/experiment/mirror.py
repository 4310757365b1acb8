"""A store at a URL: each machine works in a local copy, publishes its results and fetches what it needs.

Within a folder the file that makes it count is published last, and is believed only if it is whole and the
weights are those that it names. So a folder that was left half published is none, as on a disk.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from isoprune.experiment.remote import Mirror, get, is_url, listing, open_mirror, put
from isoprune.experiment.store import FILES, STEP, Store
from isoprune.types.errors import IsopruneError
from isoprune.types.files import DamagedFile, write_atomic
from isoprune.types.json_files import parsed, unsealed
from isoprune.types.temporary import temporary

SECONDS = 30.0  # between two publications of a training's checkpoint: what a lost machine costs at most

_COUNTS = (STEP, "record.json")  # With one of them a folder is finished.
_NOTE = ".damaged-there"  # what was, when a folder was fetched


def stored(where: str | Path) -> Store:
    """Return the store that is a directory, or this machine's part of one at a URL, with all records there.

    What this machine finished and could not publish is published first.
    """
    if not is_url(where):
        return Store(Path(where))
    url = str(where)
    mirror = open_mirror(url)
    finished = frozenset(name.rpartition("/")[0] for name in settle(mirror) if name.endswith(_COUNTS))
    return Store(mirror.store.root, url, finished)


def settle(mirror: Mirror) -> set[str]:
    """Copy missing records both ways between this machine and the URL; return what is published there."""
    there, root = set(listing(mirror)), mirror.store.root
    finished = [path for name in _COUNTS for path in root.glob(f"*/*/{name}")]  # records after their networks
    for name in (path.relative_to(root).as_posix() for path in finished):
        if name not in there:
            publish(mirror, name.rpartition("/")[0])
            there.add(name)
    for path in root.glob("studies/*.json"):
        if f"studies/{path.name}" not in there:
            put(mirror, f"studies/{path.name}", path.read_bytes())
    _fetch_records(mirror, there)
    return there


def local(where: str | Path) -> Path:
    """Return a path on this machine to what ``where`` names: a store, a study or a record, by path or URL.

    Of a URL, all records and studies are fetched.
    """
    if not is_url(where):
        return Path(where)
    url, inside = str(where).rstrip("/"), ""
    if (named := re.fullmatch(r"(.+)/(studies/[^/]+\.json|runs/[^/]+/record\.json)", url)) is not None:
        url, inside = named.groups()
    mirror = open_mirror(url)
    there = listing(mirror)
    _fetch_records(mirror, there)
    for name in there:
        if re.fullmatch(r"studies/[^/]+\.json", name):
            write_atomic(mirror.store.root / name, get(mirror, name) or b"")
    return mirror.store.root / inside


@contextmanager
def working_store(where: str, folders: Sequence[str], *, seconds: float = SECONDS) -> Iterator[Store]:
    """Yield the store to work in for ``folders``: fetched before, published after and now and then meanwhile.

    Args:
        where: A directory, which is used as it is, or a URL.
        folders: As "networks/<digest>", in the order in which they are made.
        seconds: Between two publications.
    """
    if not is_url(where):
        yield Store(Path(where))
        return
    mirror = open_mirror(where)
    for folder in folders:
        fetch(mirror, folder)
    ended = threading.Event()
    publisher = threading.Thread(
        target=_publish_now_and_then, args=(mirror, folders, ended, seconds), daemon=True
    )
    publisher.start()
    try:
        yield mirror.store
    except BaseException:
        ended.set()
        publisher.join()
        with suppress(IsopruneError):  # What went wrong before is what is told.
            _publish_all(mirror, folders)
        raise
    ended.set()
    publisher.join()
    _publish_all(mirror, folders)


def publish(mirror: Mirror, folder: str) -> None:
    """Publish what is new in a folder of this machine's store, its checkpoint too until it is finished.

    What was found damaged there when it was fetched is replaced.
    """
    place = mirror.store.root / folder
    there, here, damaged = listing(mirror, folder), _files(place), _damaged(place)
    counts = next((name for name in _COUNTS if name in here), None)
    # Who was first is not overwritten: others may have gone on from it.
    kept = (
        counts in there
        and not {counts, *FILES} & damaged
        and all(there.get(name) == (here[name].stat().st_size if name in here else None) for name in FILES)
        and _whole(get(mirror, f"{folder}/{counts}")) is not None
    )
    for name in sorted(here, key=lambda name: name in _COUNTS):
        with suppress(FileNotFoundError):  # A checkpoint that was there a moment ago.
            if "/" in name and counts is not None:
                continue
            content = here[name].read_bytes()
            grows = "/" in name or name in _COUNTS or name in FILES  # bytes may differ at the same length
            new = name not in there or name in damaged
            if new or not (kept or (there[name] == len(content) and not grows)):
                put(mirror, f"{folder}/{name}", content)
    if damaged and damaged <= here.keys():
        (place / _NOTE).unlink()
    if counts is not None and any("/" in name for name in there):
        with suppress(Exception):  # It takes room, no more.
            mirror.files.rm(f"{mirror.root}/{folder}/checkpoint", recursive=True)


def fetch(mirror: Mirror, folder: str) -> None:
    """Update a folder of this machine's store to the published one, completely."""
    there, place = listing(mirror, folder), mirror.store.root / folder
    if not there:
        return
    with mirror.store.making(place):
        here = any((place / name).exists() for name in _COUNTS)
        counts = next((name for name in _COUNTS if name in there), "")
        last = None if here or not counts else get(mirror, f"{folder}/{counts}")
        facts = _whole(last)
        damaged = {counts} if last is not None and facts is None else set()
        for name in there:
            path, inner = place / name, "/" in name  # of the checkpoint
            if name in _COUNTS or (inner and (here or facts)) or (path.exists() and not (facts or inner)):
                continue
            if (content := get(mirror, f"{folder}/{name}")) is None:
                continue
            if inner:
                _take_further(path, content)
            elif _is_whole(name, content, facts):
                write_atomic(path, content)
            else:
                damaged.add(name)
        if damaged:
            write_atomic(place / _NOTE, "\n".join(sorted(damaged)).encode())
        elif (
            last is not None
            and facts is not None
            and all((place / name).exists() for name in facts.get("files", ()))
        ):
            write_atomic(place / counts, last)


def _is_whole(name: str, content: bytes, facts: Mapping[str, Any] | None) -> bool:
    """Whether a file of a folder is what was published; an epoch that is kept is judged by who rewinds."""
    if name in FILES:
        return facts is None or hashlib.sha256(content).hexdigest() == facts.get("files", {}).get(name)
    return not name.endswith(".json") or _whole(content) is not None


def _damaged(place: Path) -> set[str]:
    """Return which files of a folder were damaged where they are published."""
    note = place / _NOTE
    return set(note.read_text(encoding="utf-8").splitlines()) if note.is_file() else set()


def _take_further(path: Path, content: bytes) -> None:
    """Put a fetched checkpoint at ``path``, unless the one that is there has come further."""
    fetched = temporary(path)
    write_atomic(fetched, content)
    if _reached(fetched) > _reached(path):
        fetched.replace(path)
    else:
        fetched.unlink()


def _reached(path: Path) -> tuple[int, int]:
    """Return how many epochs and steps a checkpoint holds; one that is damaged holds none."""
    from isoprune.training import checkpoint

    try:
        found = checkpoint.read(path)
    except (checkpoint.Damaged, IsopruneError):
        return 0, 0
    return (0, 0) if found is None else (len(found[1].get("history", ())), found[1].get("step", 0))


def _publish_all(mirror: Mirror, folders: Sequence[str]) -> None:
    for folder in folders:
        publish(mirror, folder)


def _publish_now_and_then(
    mirror: Mirror, folders: Sequence[str], ended: threading.Event, seconds: float
) -> None:
    last = time.time()
    while not ended.wait(seconds):
        since, last = last, time.time()
        for folder in folders:
            with suppress(IsopruneError, OSError):  # What could not be published now can be the next time.
                files = _files(mirror.store.root / folder).values()
                if any(path.stat().st_mtime >= since for path in files):
                    publish(mirror, folder)


def _fetch_records(mirror: Mirror, there: Collection[str]) -> None:
    for name in there:
        path = mirror.store.root / name
        if path.name != "record.json" or path.exists():
            continue
        if _whole(content := get(mirror, name)):
            write_atomic(path, content or b"")


def _files(folder: Path) -> dict[str, Path]:
    """Return the whole files below ``folder`` by their names in it."""
    found = (path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in found}
    return {name: path for name, path in names.items() if not re.search(r"(^|/)\.", name)}


def _whole(content: bytes | None) -> dict[str, Any] | None:
    """Return the JSON object in ``content``; None if it was cut short or changed."""
    here = Path("it")
    try:
        return parsed(unsealed(content or b"", here, ""), here, "")
    except DamagedFile:
        return None
