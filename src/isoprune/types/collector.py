"""Garbage collection switched off for a while: for code that makes many objects and frees none."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep Python's cyclic collector from running.

    It would walk all of torch's objects in a trace, and two thirds of the time of reading many records, for
    nothing: neither has cycles that must go at once.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
