"""The names of what is being written: one owner for who writes, who looks and who clears up."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

_NAME = re.compile(r"\.(?P<of>.+)\.(?P<process>\d+)\.part", re.DOTALL)


def temporary(path: Path) -> Path:
    """Return the name beside ``path`` under which this process writes what will be there."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def is_temporary(name: str) -> bool:
    """Whether a name is that of what somebody writes, or was writing when he was killed."""
    return _NAME.fullmatch(name) is not None


def clear_temporary(folder: Path, name: str | None = None) -> None:
    """Remove what processes that are gone left in ``folder``: of the file ``name``, or all of it.

    On a disk that several machines share, call it where nobody else writes: of another machine's processes
    nothing is known here.
    """
    with suppress(OSError):
        for entry in list(folder.iterdir()):
            found = _NAME.fullmatch(entry.name)
            if found is None or name not in (None, found["of"]) or _lives(int(found["process"])):
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                with suppress(OSError):
                    entry.unlink()


def _lives(process: int) -> bool:
    if process == os.getpid():  # What it writes now it clears up itself.
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # It is somebody else's.
        return True
    return True
