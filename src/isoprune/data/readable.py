"""Checks of a folder of images before anything runs: which files cannot be read, and a content digest."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from isoprune.types.errors import IsopruneError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
# Up to so many bytes every image is decoded and hashed whole; beyond, headers, sizes and times are read.
WHOLE = 2**27
_NAMED = 50


def require_readable(root: Path, files: Sequence[str], on_error: str) -> frozenset[str]:
    """Return the files that cannot be read, if they are to be skipped.

    Raises:
        IsopruneError: Naming all of them at once, if not; if ``on_error`` is no word for it.
    """
    if on_error not in ("raise", "skip"):
        raise IsopruneError(f"on_error is {on_error!r}. Write 'raise' or 'skip'.")
    bad = {file: why for file, why in _reasons(_stamps(files)).items() if why is not None}
    if bad and on_error == "raise":
        named = [f"{os.path.relpath(file, root)} ({why})" for file, why in list(bad.items())[:_NAMED]]
        more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        raise IsopruneError(
            f"{len(bad)} of {len(files)} images of {root} cannot be read: {', '.join(named)}{more}. Take "
            'them out of the folder, or leave them out: on_error = "skip".'
        )
    return frozenset(bad)


def content_digest(root: Path) -> str:
    """Return 16 digits that change when an image below ``root`` does: by names, sizes and contents.

    Of folders of more than 128 MiB times of change stand for the contents: a copy is then another folder.
    """
    return _digest(str(root), _stamps(images_in(root)))


def images_in(folder: Path) -> list[str]:
    """Return every image below ``folder``, sorted; hidden ones and what hidden folders hold left out."""
    found: list[str] = []
    for at, folders, inside in os.walk(folder, followlinks=True):
        folders[:] = [f for f in folders if not f.startswith(".")]
        # A million Paths would take seconds.
        found += [os.path.join(at, f) for f in inside if f.lower().endswith(SUFFIXES) and f[0] != "."]  # noqa: PTH118
    return sorted(found)


_Stamps = tuple[tuple[str, int, int], ...]


def _stamps(files: Sequence[str]) -> _Stamps:
    """Return each file with its size and the time of its last change: what answers are kept by."""

    def stamp(file: str) -> tuple[str, int, int]:
        try:
            found = os.stat(file)  # noqa: PTH116
        except OSError:  # a link to nothing: that it cannot be read is told with the others
            return file, -1, 0
        return file, found.st_size, found.st_mtime_ns

    return tuple(map(stamp, files))


@functools.lru_cache(maxsize=8)
def _digest(root: str, stamps: _Stamps) -> str:
    whole = sum(size for _, size, _ in stamps) <= WHOLE
    made = hashlib.sha256()
    for file, size, time in stamps:
        inside = hashlib.sha256(Path(file).read_bytes()).hexdigest() if whole and size >= 0 else time
        made.update(f"{os.path.relpath(file, root)}:{size}:{inside}\n".encode("utf-8", "surrogateescape"))
    return made.hexdigest()[:16]


@functools.lru_cache(maxsize=8)
def _reasons(stamps: _Stamps) -> dict[str, str | None]:
    whole = sum(size for _, size, _ in stamps) <= WHOLE
    with ThreadPoolExecutor(thread_name_prefix="images") as pool:
        found = pool.map(lambda stamp: _reason(stamp[0], whole=whole), stamps)
        return dict(zip((file for file, *_ in stamps), found, strict=True))


def _reason(file: str, *, whole: bool) -> str | None:
    """Return why an image cannot be read; None if it can."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            if whole:
                image.load()
    # Pillow raises SyntaxError for a broken PNG, ValueError for some others.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return "it is no image" if "cannot identify" in str(error) else " ".join(str(error).split())[:80]
    return None
