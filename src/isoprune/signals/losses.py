"""The loss of a task on a batch; errors that say which loss or task to give instead."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from isoprune.types import IsopruneError
from isoprune.types.task import Task, cross_entropy_loss, described

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
    try:
        loss = task.loss(outputs, batch)
    except (IsopruneError, torch.OutOfMemoryError):
        raise
    except (TypeError, ValueError, LookupError, AttributeError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise IsopruneError(
            f"The loss of the task {task.name!r} does not take what the network made, {described(outputs)}, "
            f"with a batch that is {described(batch)}: {type(error).__name__}: {reason}. {_WAY_OUT}"
        ) from error
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        made = described(loss) if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise IsopruneError(f"The loss of the task {task.name!r} is {made}, not a scalar tensor. {_WAY_OUT}")
    return loss


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
