"""Files that are either whole or not there, and errors of the disk in words."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from isoprune.types.errors import IsopruneError
from isoprune.types.temporary import temporary

LARGEST = (
    16 * 2**20
)  # bytes of a file of facts: a hundred times those of a large one; parsed it is a gigabyte
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


class DamagedFile(IsopruneError):
    """A file is there, but is not what was written; results that can be computed again are."""


def write_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that no reader, and no power cut, ever sees a part of it.

    A temporary file beside it is written, flushed to the disk and renamed over it. If anything
    fails, what was at ``path`` before is still there and the temporary file is gone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = temporary(path)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    # The rename itself is durable only when the directory is.
    flush(path.parent)


def write_output(content: str | bytes, file: Path, *, what: str = "file") -> Path:
    """Write what the user asked for, whole or not at all, and return its path.

    Raises:
        IsopruneError: If it cannot be written.
    """
    try:
        write_atomic(file, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise IsopruneError(
            f"The {what} cannot be written to {file}: {error.strerror}. Give another place for it."
        ) from error
    return file


def flush(path: Path) -> None:
    """Have the system write a file or a directory to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_file(path: Path, *, most: int = LARGEST) -> bytes:
    """Return the content of a regular file of at most ``most`` bytes.

    Raises:
        FileNotFoundError: If there is none.
        DamagedFile: If something else stands there, which is not opened (reading a pipe would never end), or
            it is larger.
        IsopruneError: If it may not be read.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            kind = "a directory" if stat.S_ISDIR(found.st_mode) else "no regular file"
            raise DamagedFile(f"{path} is {kind}, and a file was expected there. Move it away.")
        if found.st_size > most:
            raise DamagedFile(f"{path} has {found.st_size:,} bytes; no such file has more than {most:,}.")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DamagedFile(f"{path} is a link that leads nowhere. Move it away.") from None
        raise IsopruneError(
            f"{path} cannot be read: {error.strerror or error}. Check its permissions."
        ) from error


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
