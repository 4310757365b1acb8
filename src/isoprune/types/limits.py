"""Errors of the machine in one line each: a bad path, a missing permission, too little memory."""

from __future__ import annotations

import re


def of_disk(error: OSError) -> str:
    """Return an error of the disk that has no message of its own: a name too long, a permission missing."""
    where = f"{error.filename}: " if error.filename else ""
    why = error.strerror or str(error) or type(error).__name__
    return f"{where}{why}. Check that path and its permissions."


def is_memory(error: BaseException) -> bool:
    """Whether memory ran out; torch raises a RuntimeError then."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error) or "CUDA out of" in str(error)


def of_memory(error: BaseException) -> str:
    wanted = re.search(r"allocate (\d+) bytes", str(error))
    much = f": {int(wanted[1]):,} bytes were asked for" if wanted else ""
    return (
        f"Not enough memory{much}. Give a smaller network, fewer samples, smaller inputs or a smaller batch."
    )
