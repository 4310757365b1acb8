"""One lock for all processes: freed when its holder dies; a waiting process logs which process holds it."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

logger = logging.getLogger("isoprune")

PATIENCE = 2.0  # seconds before one says that he waits


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``; who holds it stands in a file beside it, for those who wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(path), path.with_name(f"{path.name}-holder")
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        logger.warning("%s", _waiting(path, holder))
        lock.acquire()
    try:
        with suppress(OSError):  # It is for people to read.
            holder.write_text(
                f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%X')}\n"
            )
        yield
    finally:
        with suppress(OSError):
            holder.unlink()
        lock.release()


def _waiting(path: Path, holder: Path) -> str:
    try:
        who = holder.read_text(errors="replace")[:200] if holder.is_file() else ""
    except OSError:
        who = ""
    who = " ".join("".join(c for c in who if c.isprintable()).split()) or "another process"
    return (
        f"Waiting for {who}, which holds {path.parent}. If it is stopped, let it go on (kill -CONT) or end "
        "it: this process then resumes its work."
    )
