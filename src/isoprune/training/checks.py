"""What is refused before a training, and what stops it: the words for both."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from isoprune.signals.modes import in_eval_mode
from isoprune.training.distill import Distill
from isoprune.training.diverged import Diverged
from isoprune.training.evaluate import device_of
from isoprune.types import IsopruneError, Splits
from isoprune.types.samples import inputs_at


def check_training(
    model: nn.Module, splits: Splits, *, epochs: int, lr: float, batch: int, steps: int | None
) -> None:
    """Raise now for what would fail, or quietly mean nothing, after the first epoch."""
    if epochs < 0 or batch < 1 or not 0 <= lr < math.inf or (steps is not None and steps < 0):
        raise IsopruneError(
            f"epochs = {epochs}, batch = {batch}, lr = {lr}, steps = {steps}: epochs and steps may be 0 or "
            "more, batch 1 or more, lr 0 or more and finite."
        )
    present = len(splits.train.targets.unique())
    if present < 2:
        raise IsopruneError(
            f"All {len(splits.train)} training samples are of one class, and telling classes apart takes "
            "two. Look at the labels, or raise the number of training samples."
        )
    with torch.no_grad(), in_eval_mode(model):
        outputs = model(inputs_at(splits.train, torch.arange(1)).to(device_of(model))).shape[-1]
    highest = int(torch.cat([splits.train.targets, splits.validation.targets]).max())
    if highest >= outputs:
        raise IsopruneError(
            f"The network has {outputs} outputs and the data has a class {highest}. "
            f"Build the network for {max(splits.classes, highest + 1)} classes."
        )


def check_penalty_steps(needed: int, steps: int) -> None:
    """Raise if a training is over before its penalty is done."""
    if needed > steps:
        raise IsopruneError(
            f"The penalty needs {needed:,} steps until its channels can go, and the training has {steps:,}. "
            "Train longer (prune.train.epochs, prune.train.steps), or let it grow faster: raise its growth, "
            "lower its interval or stabilise."
        )


def check_teacher(
    teacher: nn.Module | None, distill: Distill | None, model: nn.Module, splits: Splits
) -> None:
    """Raise IsopruneError unless there is a teacher with the network's outputs, or no distillation at all."""
    if teacher is None and distill is None:
        return
    if distill is None:
        raise IsopruneError(
            "There is a network to learn from and no distill. Give its weight and temperature, or neither."
        )
    if teacher is None:
        raise IsopruneError("There is distill and no network to learn from. Give the dense one, or neither.")
    with torch.no_grad(), in_eval_mode(model, teacher):
        one = inputs_at(splits.train, torch.arange(1))
        theirs, own = (net(one.to(device_of(net))).shape[-1] for net in (teacher, model))
    if theirs != own:
        raise IsopruneError(
            f"The network to learn from has {theirs} outputs and the one that learns {own}. "
            "Distillation needs the same classes in both."
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
