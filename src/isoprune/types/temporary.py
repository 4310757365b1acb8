"""Names of files that are being written: made, recognised and cleared up here alone."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

_NAME = re.compile(r"\.(?P<of>.+)\.(?P<process>\d+)\.part", re.DOTALL)


def temporary(path: Path) -> Path:
    """Return the temporary name beside ``path`` under which this process writes before it renames."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def is_temporary(name: str) -> bool:
    """Whether it is the temporary name of a file that a process writes, or wrote when it was killed."""
    return _NAME.fullmatch(name) is not None


def clear_temporary(folder: Path, name: str | None = None) -> None:
    """Remove temporary files that ended processes left in ``folder``: of the file ``name``, or all.

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
