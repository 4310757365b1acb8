"""What a machine cannot give, in one line: a path, a right, memory."""

from __future__ import annotations

import re


def of_disk(error: OSError) -> str:
    """Return what is wrong with a path that nobody thought of: a name too long, a right that is missing."""
    where = f"{error.filename}: " if error.filename else ""
    why = error.strerror or str(error) or type(error).__name__
    return f"{where}{why}. Check that path and its permissions."


def is_memory(error: BaseException) -> bool:
    """Whether memory ran out; torch says so by a RuntimeError."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error) or "CUDA out of" in str(error)


def of_memory(error: BaseException) -> str:
    wanted = re.search(r"allocate (\d+) bytes", str(error))
    much = f": {int(wanted[1]):,} bytes were asked for" if wanted else ""
    return (
        f"Not enough memory{much}. Give a smaller network, fewer samples, smaller inputs or a smaller batch."
    )
