"""A task, with a loss or a part of the outputs put into it for one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from isoprune.isometry.picks import OutputPick, pick_output
from isoprune.types.task import Task, task_with


def task_of(task: Task, loss: Callable[[Any, Any], Tensor] | None, output: OutputPick) -> Task:
    """Return ``task`` with another loss, which reads the output that ``output`` picks: see `diagnose`."""
    task = task_with(task, loss)
    if output is None:
        return task
    whole = task.loss
    return replace(task, loss=lambda outputs, batch: whole(pick_output(outputs, output), batch), metrics={})
