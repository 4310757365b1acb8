"""Files that are either whole or not there, and errors of the disk in words."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

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
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON; NaN and infinity become null, as JSON has neither."""
    write_atomic(path, (json.dumps(_finite(value), indent=1, allow_nan=False) + "\n").encode())


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
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


def clear_temporary(folder: Path) -> None:
    """Remove what a killed writer left in ``folder``; call it under the folder's lock."""
    for leftover in folder.glob(".*.tmp"):
        with suppress(OSError):
            leftover.unlink()


@contextmanager
def explained(root: Path) -> Iterator[None]:
    """Turn errors of the disk under ``root`` into one line that says what to do."""
    try:
        yield
    except OSError as error:
        raise _in_words(error, root) or error from None
    except Exception as error:
        # safetensors writes from Rust and reports the disk's errors as its own.
        if type(error).__name__ == "SafetensorError" and "os error 28" in str(error):
            raise _in_words(OSError(errno.ENOSPC, str(error)), root) or error from None
        raise


def _in_words(error: OSError, root: Path) -> Exception | None:
    where = error.filename or root
    if error.errno in FULL:
        return IsopruneError(
            f"No space left for the store {root} (writing {where}). "
            "Free some space and start the same command again: finished work is kept."
        )
    if error.errno in READ_ONLY:
        return IsopruneError(
            f"Cannot write to the store {root}: {where} is read-only ({error.strerror}). "
            "Give a directory you may write to: --store DIR."
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return IsopruneError(
            f"The store {root} cannot be made: {where} is a file. Give a directory: --store DIR."
        )
    return None
