"""Signals: what a method may read of a network on data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from isoprune.types.task import CLASSIFICATION, Task


@dataclass(frozen=True)
class Signals:
    """A network, data and a task, and what follows from them, gathered when it is asked for."""

    model: nn.Module
    batches: Iterable[Any] | None = None
    task: Task = CLASSIFICATION
