"""The peak memory of a block of code."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from collections.abc import Iterator
from pathlib import Path

import torch

_PROCESS = Path("/proc/self")


@contextlib.contextmanager
def growth() -> Iterator[list[int]]:
    """Yield a list that has, after the block, the bytes by which this process grew at most within it.

    Of the GPU where there is one in use, else of the process's resident memory, which only Linux tells: the
    list stays empty elsewhere.
    """
    grown: list[int] = []
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield grown
        grown.append(torch.cuda.max_memory_allocated() - before)
        return
    before = _reset()
    yield grown
    if before is not None:
        grown.append(max(_resident("VmHWM") - before, 0))


def _reset() -> int | None:
    """Forget the peak so far; return the bytes held now, None where the system does not tell."""
    with contextlib.suppress(OSError, AttributeError):
        # What earlier work gave back to the allocator goes back to the system: it would be taken unseen.
        ctypes.CDLL(None).malloc_trim(0)
    try:
        (_PROCESS / "clear_refs").write_text("5")
        return _resident("VmRSS")
    except (OSError, StopIteration):
        return None


def _resident(name: str) -> int:
    lines = (_PROCESS / "status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
