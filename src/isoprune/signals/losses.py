"""The loss of a task on a batch; errors that say which loss or task to give instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

from isoprune.types import IsopruneError
from isoprune.types.errors import one_line
from isoprune.types.task import Task, cross_entropy_loss, described, has_cross_entropy

_WAY_OUT = (
    "Give the loss of your task, such as loss=torch.nn.MSELoss() (it gets the outputs and batch[1]), "
    "output= a key, an index or a function where one part of the outputs counts, or "
    "task=isoprune.Task(inputs=..., loss=...)."
)


def loss_of(task: Task, outputs: Any, batch: Any) -> Tensor:
    """Return the task's loss, a scalar.

    Raises:
        IsopruneError: If the loss does not take these outputs and this batch, or gives no scalar.
    """
    with reading_outputs("loss", task, outputs, batch):
        loss = task.loss(outputs, batch)
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        made = described(loss) if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise IsopruneError(f"The loss of the task {task.name!r} is {made}, not a scalar tensor. {_WAY_OUT}")
    return loss


def reading_outputs(what: str, task: Task, outputs: Any, batch: Any) -> AbstractContextManager[None]:
    """Name the task, the outputs and the batch where its loss, or one of its metrics, does not take them.

    Raises:
        IsopruneError: As `own_words` does.
    """
    return own_words(
        lambda reason: (
            f"The {what} of the task {task.name!r} does not take what the network made, "
            f"{described(outputs)}, with a batch that is {described(batch)}: {reason}. "
            f"{_labels(task, outputs, batch) or _WAY_OUT}"
        )
    )


@contextmanager
def own_words(say: Callable[[str], str]) -> Iterator[None]:
    """Let ``say`` word what torch, or a function of the user's, raises; it is given the reason in one line.

    Raises:
        IsopruneError: In place of that error; those of isoprune, and of memory, stay as they are.
    """
    try:
        yield
    except (IsopruneError, torch.OutOfMemoryError):
        raise
    except (TypeError, ValueError, LookupError, AttributeError, RuntimeError) as error:
        raise IsopruneError(say(f"{type(error).__name__}: {one_line(error)}")) from error


def _labels(task: Task, outputs: Any, batch: Any) -> str:
    """Return what to do about labels that cross-entropy does not take; "" where it is something else."""
    targets = batch[1] if isinstance(batch, tuple | list) and len(batch) > 1 else None
    if not has_cross_entropy(task) or not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
        return ""
    if targets.dim() == outputs.dim() > 1 == targets.shape[1] and not targets.is_floating_point():
        return "Labels have no dimension of classes: give labels.squeeze(1)."
    if targets.dim() < outputs.dim() and targets.is_floating_point():
        return "Labels are whole numbers: give labels.long(), or loss=torch.nn.MSELoss() for values."
    if outputs.dim() > 1 and targets.numel() and not targets.is_floating_point():
        classes, least, most = outputs.shape[1], int(targets.min()), int(targets.max())
        if least < 0 or most >= classes:
            return (
                f"Labels are 0 to {classes - 1} of a network with {classes} outputs, and these are {least} "
                f"to {most}: number them from 0, or build the network for more classes."
            )
    return ""


def check_targets(task: Task, batch: Any) -> None:
    """Refuse targets that cross-entropy would take for probabilities and that are none.

    Raises:
        IsopruneError: If they are negative somewhere, or do not add up to one.
    """
    if task.loss is not cross_entropy_loss or not isinstance(batch, tuple | list) or len(batch) < 2:
        return
    targets = batch[1]
    if not isinstance(targets, Tensor) or not targets.is_floating_point() or targets.dim() < 2:
        return
    sums = targets.detach().float().sum(1)
    if bool((targets < 0).any()) or not torch.allclose(sums, torch.ones_like(sums), atol=1e-2):
        raise IsopruneError(
            f"The targets are numbers of shape {tuple(targets.shape)} and no probabilities of classes, and "
            f"the loss is cross-entropy. {_WAY_OUT}"
        )
