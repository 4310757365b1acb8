"""Files that are either whole or not there, one lock for all processes, and errors of the disk in words."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from isoprune.types.errors import IsopruneError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


def write_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that no reader, and no power cut, ever sees a part of it.

    A temporary file beside it is written, flushed to the disk and renamed over it. If anything
    fails, what was at ``path`` before is still there and the temporary file is gone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    # The rename itself is durable only when the directory is.
    flush(path.parent)


def flush(path: Path) -> None:
    """Have the system write a file or a directory to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON; NaN and infinity become null, as JSON has neither."""
    write_atomic(path, (json.dumps(finite(value), indent=1, allow_nan=False) + "\n").encode())


def finite(value: Any) -> Any:
    """Return plain data with None for every number that is not finite, and lists for tuples."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {key: finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value


def read_json(path: Path, *, remedy: str) -> dict[str, Any]:
    """Return the JSON object in ``path``.

    Raises:
        FileNotFoundError: If there is none.
        IsopruneError: If it is damaged; ``remedy`` says what to do.
    """
    try:
        value = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise IsopruneError(f"{path} is damaged: not valid JSON ({error}). {remedy}") from None
    if not isinstance(value, dict):
        raise IsopruneError(f"{path} is damaged: a JSON {type(value).__name__}, not an object. {remedy}")
    return value


def clear_temporary(folder: Path, name: str = "*") -> None:
    """Remove what killed writers (of ``name``) left in ``folder``; call it where nobody else writes there."""
    for leftover in folder.glob(f".{name}.*.tmp"):
        with suppress(OSError):
            leftover.unlink()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``; the system lets go of it when the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


@contextmanager
def explained(
    place: Path, *, name: str = "", remedy: str = "Give a directory that you may write to."
) -> Iterator[None]:
    """Turn errors of the disk at ``place`` into one line that says what to do; a missing file stays one.

    Args:
        place: What is read or written; the file that failed is named besides, if it is another.
        name: What it is, such as "the store".
        remedy: What to do where nothing can be written.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _worded(error, place, name, remedy) from error
    except Exception as error:
        # safetensors writes from Rust and hands the system's errors on as text.
        number = re.search(r"os error (\d+)", str(error))
        if type(error).__name__ != "SafetensorError" or number is None:
            raise
        raise _worded(OSError(int(number[1]), os.strerror(int(number[1]))), place, name, remedy) from error


def _worded(error: OSError, place: Path, name: str, remedy: str) -> IsopruneError:
    where, text = f"{name} {place}".strip(), error.strerror or str(error)
    if error.filename is not None and Path(error.filename) != place:
        text = f"{text} ({error.filename})"
    if error.errno in FULL:
        kept = "Make room and start the same command again: what is finished is kept."
        return IsopruneError(f"No space left for {where}: {text}. {kept}")
    if error.errno in READ_ONLY:
        return IsopruneError(f"Cannot write to {where}: {text}. {remedy}")
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return IsopruneError(f"{where} cannot be made: a file stands in its way. {remedy}")
    return IsopruneError(f"Cannot use {where}: {text}. {remedy}")
