"""Checks before a training and while it runs, and their error messages."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from isoprune.signals.losses import check_targets, own_words
from isoprune.signals.modes import in_eval_mode
from isoprune.training.distill import Distill
from isoprune.training.diverged import Diverged
from isoprune.training.loop import PRECISIONS, Loop
from isoprune.training.settings import Training
from isoprune.training.source import Batching
from isoprune.types import IsopruneError, Task
from isoprune.types.network import device_of
from isoprune.types.seeded import lent_generators
from isoprune.types.task import cross_entropy_loss, described, to_device
from isoprune.types.training_options import check_nesterov


def check_training(
    model: nn.Module, train: Batching, validation: Batching | None, training: Training, task: Task
) -> None:
    """Raise now for settings that would fail, or have no effect, only after the first epoch."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise IsopruneError(
            "Every parameter of the network is frozen (requires_grad is False): there is nothing to train. "
            "Call network.requires_grad_(True), or of those that are to be trained."
        )
    loop, own = training.loop, task.loss is not cross_entropy_loss
    check_loop(loop, model)
    check_nesterov(loop.nesterov, training.optimizer, training.momentum)
    if own and loop.label_smoothing:
        raise IsopruneError(
            f"label_smoothing is of a classification, and the task {task.name!r} has a loss of its own. "
            "Leave it out."
        )
    if loop.accumulate > 1 and train.whole_batches:
        raise IsopruneError(
            "accumulate cuts a batch into parts, and this training data comes as whole batches. Give a "
            "Dataset, or smaller batches."
        )
    if not train.steps:
        raise IsopruneError(
            f"The training data has {len(train)} samples, fewer than one batch of {train.batch}, and "
            "its loader drops what fills no batch. Give a smaller one."
        )
    if not train.resumable:  # its first batch cannot be looked at without taking it
        return
    first = train.first()
    outputs = first_outputs(model, first, task)
    check_targets(task, first)
    if not own and train.targets is not None:
        check_classes(outputs.shape[-1], train, validation)


def check_classes(outputs: int, train: Batching, validation: Batching | None) -> None:
    """Raise IsopruneError unless there are classes to tell apart, and an output for each."""
    targets = [s.targets for s in (train, validation) if s is not None and s.targets is not None]
    if len(targets[0].unique()) < 2:
        raise IsopruneError(
            f"All {len(train)} training samples are of one class, and telling classes apart takes "
            "two. Look at the labels, or raise the number of training samples."
        )
    highest = max(int(each.max()) for each in targets)
    if highest >= outputs:
        raise IsopruneError(
            f"The network has {outputs} outputs and the data has a class {highest}. "
            f"Build the network for {highest + 1} classes."
        )


def first_outputs(model: nn.Module, batch: Any, task: Task) -> Any:
    """Return what the network makes of the first training samples, in eval mode.

    Raises:
        IsopruneError: If it does not take them.
    """
    device = device_of(model)

    def say(reason: str) -> str:
        return (
            f"{type(model).__name__} does not take what the task {task.name!r} reads off the training data, "
            f"{described(task.inputs_of(batch))}: {reason}. Give data that the network was made for, or "
            "task=isoprune.Task(inputs=..., loss=...)."
        )

    with own_words(say), torch.no_grad(), in_eval_mode(model), lent_generators(device=device):
        return task.outputs(model, to_device(batch, device))


def check_loop(loop: Loop, model: nn.Module) -> None:
    """Raise IsopruneError for settings that no training can have, or that this network cannot take."""
    if loop.precision not in PRECISIONS:
        raise IsopruneError(f"precision is {loop.precision!r}. Give one of: {', '.join(PRECISIONS)}.")
    if loop.accumulate < 1:
        raise IsopruneError(
            f"accumulate is {loop.accumulate}, but a batch has at least 1 part. Give 1 or more."
        )
    if loop.clip is not None and not 0 < loop.clip < math.inf:
        raise IsopruneError(
            f"clip is {loop.clip}. Give the largest norm of a gradient, above 0, or leave it out."
        )
    for name in ("label_smoothing", "average"):
        if not 0 <= getattr(loop, name) < 1:
            raise IsopruneError(f"{name} is {getattr(loop, name)}, outside [0, 1). It is a fraction.")
    if loop.precision == "bf16" and any(p.dtype != torch.float32 for p in model.parameters()):
        raise IsopruneError(
            'precision = "bf16" keeps its weights in float32, and this network has others. '
            'Call model.float() first, or train with precision = "full".'
        )


def check_penalty_steps(needed: int, steps: int) -> None:
    """Raise if a training is over before its penalty is done."""
    if needed > steps:
        raise IsopruneError(
            f"The penalty needs {needed:,} steps until its channels can go, and the training has {steps:,}. "
            "Train longer (prune.train.epochs, prune.train.steps), or let it grow faster: raise its growth, "
            "lower its interval or stabilise."
        )


def check_teacher(distill: Distill | None, model: nn.Module, train: Batching, task: Task) -> None:
    """Raise IsopruneError unless the network to learn from has logits like the one that learns."""
    if distill is None:
        return
    theirs, own = (first_outputs(net, train.first(), task) for net in (distill.teacher, model))
    for outputs in (theirs, own):
        if not isinstance(outputs, Tensor) or outputs.dim() < 2 or outputs.shape[1] < 2:
            kind = tuple(outputs.shape) if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
            raise IsopruneError(
                f"Distillation compares logits, [samples, classes, ...], and the task {task.name!r} has "
                f"outputs of {kind}. Leave distill out, or write it into the task's loss."
            )
    if theirs.shape != own.shape:
        raise IsopruneError(
            f"The network to learn from has outputs of {tuple(theirs.shape[1:])} and the one that learns of "
            f"{tuple(own.shape[1:])}. Distillation needs the same classes in both."
        )


def check_losses(losses: Tensor, epoch: int, rates: list[float], kept: str) -> None:
    """Raise Diverged for the first loss that is no number; ``kept`` says what a checkpoint holds."""
    bad = (~losses.isfinite()).nonzero()
    if len(bad):
        step = int(bad[0])
        raise _diverged(losses[step].item(), epoch, step + 1, rates[step], kept)


def check_validation(loss: float, epoch: int, lr: float | None, kept: str) -> None:
    """Raise Diverged if the validation loss is no number."""
    if not math.isfinite(loss):
        raise _diverged(loss, epoch, None, lr, kept)


def _diverged(loss: float, epoch: int, step: int | None, lr: float | None, kept: str) -> Diverged:
    if epoch == 0:
        message = (
            f"The validation loss is {loss} before the first step: network or data hold NaN or infinity. "
            "Start from an earlier state, or look at the inputs."
        )
        return Diverged(message)
    where = f"at step {step} of epoch {epoch}" if step else f"in validation after epoch {epoch}"
    return Diverged(f"The loss is {loss} {where}, at learning rate {lr:g}. Lower lr.{kept}", epoch, step, lr)
