"""Files at a URL, through fsspec: opened, listed, read and written, and what goes wrong in one line."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
from fsspec.asyn import AsyncFileSystem

from isoprune.experiment.store import Store
from isoprune.types.errors import IsopruneError

# Of a file of a store; what a writer has not finished begins with a dot.
_NAME = re.compile(r"(?:\w[\w.-]*/)*\w[\w.-]*")


@dataclass(frozen=True)
class Mirror:
    """A place behind a URL, and the store of this machine that stands for it."""

    url: str
    files: Any  # an fsspec file system
    root: str
    store: Store


def is_url(where: str | Path) -> bool:
    return "://" in str(where)


def open_mirror(url: str) -> Mirror:
    """Return the place behind ``url``; nothing is read or written yet.

    Raises:
        IsopruneError: If nothing here speaks its protocol, or nobody answers.
    """
    protocol = url.partition("://")[0]
    try:
        files, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise IsopruneError(
            f"The store {url} needs a package that is not installed here: {error}. "
            "Install it by pip, and on every node of a cluster."
        ) from None
    except Exception as error:  # Each file system has errors of its own.
        raise IsopruneError(
            f"The store {url} cannot be reached ({type(error).__name__}: {error}). "
            "Give a directory, or a URL such as s3://bucket/runs that answers."
        ) from error
    name = re.sub(r"[^\w.-]+", "-", f"{protocol}-{root.rstrip('/').rpartition('/')[2]}")
    key = hashlib.sha256(f"{protocol}://{root}".encode()).hexdigest()[:8]
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Mirror(url, files, root.rstrip("/"), Store(caches / "isoprune" / f"{name}-{key}", url))


def check_rights(url: str) -> None:
    """Write, read and remove a small file at ``url``.

    Raises:
        IsopruneError: If one of them is not allowed or does not work.
    """
    mirror = open_mirror(url)
    name, content = f".{uuid4().hex}", b"isoprune"
    put(mirror, name, content)
    if get(mirror, name) != content:
        raise IsopruneError(f"The store {url} gives back something else than was written. Give another URL.")
    with _explained(mirror, "written"):
        mirror.files.rm_file(f"{mirror.root}/{name}")


def listing(mirror: Mirror, folder: str = "") -> dict[str, int]:
    """Return the sizes of what is published below ``folder``, by their names in it."""
    place = f"{mirror.root}/{folder}".rstrip("/")
    with _explained(mirror, "read"):
        mirror.files.invalidate_cache()  # Other machines write there too.
        try:
            found = mirror.files.find(place, detail=True)
        except FileNotFoundError:
            found = {}
    names = {path[len(place) :].lstrip("/"): info["size"] for path, info in found.items()}
    # An object may be called "runs/../../.bashrc": what is fetched stays in the store.
    return {name: size for name, size in names.items() if _NAME.fullmatch(name)}


def get(mirror: Mirror, name: str) -> bytes | None:
    """Return a published file's content; None if there is none (any more)."""
    with _explained(mirror, "read"):
        try:
            return mirror.files.cat_file(f"{mirror.root}/{name}")
        except FileNotFoundError:
            return None


def put(mirror: Mirror, name: str, content: bytes) -> None:
    path = f"{mirror.root}/{name}"
    with _explained(mirror, "written"):
        try:
            mirror.files.pipe_file(path, content)
        except FileNotFoundError:
            # An object store has no folders: it is the bucket that is missing, which nobody asked to make.
            if isinstance(mirror.files, AsyncFileSystem):
                raise
            mirror.files.makedirs(path.rpartition("/")[0], exist_ok=True)
            mirror.files.pipe_file(path, content)


@contextmanager
def _explained(mirror: Mirror, done: str) -> Iterator[None]:
    """Turn whatever a file system raises into one line: each has errors of its own."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split()) or "no reason given"
        raise IsopruneError(
            f"The store {mirror.url} cannot be {done} ({type(error).__name__}: {reason}). Check the address, "
            "your rights and this machine's credentials, and start the same command again: what is finished "
            f"is kept, there or in {mirror.store.root}."
        ) from error
