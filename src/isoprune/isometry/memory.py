"""How much memory there is, and how much a network's backward takes."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor

from isoprune.signals.work import saved_by

_NO_LIMIT = 2**60  # version 1 of control groups writes the largest number of pages where version 2 has "max"


@dataclass(frozen=True)
class Footprint:
    """Bytes that one sample's forward keeps for the backward, and the largest tensor among them."""

    saved: int
    largest: int


def default_memory(device: torch.device) -> int:
    """Return the default memory bound in bytes: a quarter of what is free on the device."""
    return free_memory(device) // 4


def free_memory(device: torch.device) -> int:
    """Return the free bytes of the device; on the CPU those the process may still take.

    On Linux that is the smaller of what the kernel has and what the control group leaves.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return _free_on_cpu(int(time.monotonic()))


@functools.lru_cache(maxsize=1)
def _free_on_cpu(second: int) -> int:  # noqa: ARG001  # the kernel takes 0.2 ms to say it: asked once a second
    left = _control_group()
    free = psutil.virtual_memory().available
    return free if left is None else min(free, left)


def footprint(forward: Callable[[], Tensor], beside: frozenset[int]) -> Footprint:
    """Return what one forward keeps, storages in ``beside`` (parameters) not counted."""
    return with_footprint(forward, beside)[1]


def with_footprint(forward: Callable[[], Tensor], beside: frozenset[int]) -> tuple[Tensor, Footprint]:
    """Return what ``forward`` returns, with its graph, and what that keeps."""
    y, sizes = saved_by(forward, beside)
    return y, Footprint(sum(sizes), max([y.numel() * y.element_size(), *sizes]))


def _control_group() -> int | None:
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
            root = Path("/sys/fs/cgroup")
            bound = int((root / limit).read_text())
            if bound >= _NO_LIMIT:
                return None
            return max(bound - int((root / used).read_text()), 0)
    return None
