"""The training loop: SGD on cross-entropy, one row of numbers per epoch."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from isoprune.modes import in_eval_mode
from isoprune.samples import inputs_at
from isoprune.training.diverged import Diverged
from isoprune.training.evaluate import device_of, evaluate
from isoprune.training.resume import fingerprint, restore_, save
from isoprune.types import IsopruneError, Samples, Schedule, Splits

Row = dict[str, Any]


def fit(
    model: nn.Module,
    splits: Splits,
    *,
    epochs: int,
    lr: float,
    schedule: Schedule,
    batch: int = 100,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    steps: int | None = None,
    generator: Generator,
    measure: Callable[[nn.Module], Mapping[str, float]] | None = None,
    on_epoch: Callable[[Row], object] | None = None,
    keep: Callable[[int, nn.Module], object] | None = None,
    checkpoint: Path | None = None,
) -> tuple[nn.Module, list[Row]]:
    """Return a trained copy of ``model``, in eval mode with the weights of the last epoch, and the history.

    The history's first row is epoch 0, the state before the first step: epoch, validation_accuracy,
    validation_loss, seconds, and what ``measure`` gives. Later rows add lr (the last one used), loss and
    train_accuracy (both while training, before each step). Accuracies are fractions of 1, losses in nats.

    Args:
        model: Left as it is.
        splits: Train and validation are used; test is not.
        schedule: Progress of the whole training in [0, 1), at the start of each step -> factor on ``lr``.
        batch: Samples per step; the last step of an epoch takes what is left.
        steps: At most so many in all: the last epoch ends with the last of them, and the schedule's progress
            counts to them. None: as many as ``epochs`` take.
        generator: Draws the order of every epoch; it moves on.
        measure: Called on the network in eval mode before training and after every epoch.
        on_epoch: Called with each new row, when its checkpoint is written.
        keep: Called with the epoch and the network in eval mode after every epoch, 0 included, before that
            epoch's checkpoint is written: what it has put away is there whenever training goes on after it.
            Interrupted between the two, it is called again with the same weights.
        checkpoint: Before and after every epoch all state is in ``<checkpoint>.safetensors``. If that is
            there already, training goes on from it and ends with the bits (``seconds`` apart) of one that was
            never interrupted; layers that draw from torch's global generator, as Dropout does, excepted.

    Raises:
        Diverged: If the loss becomes NaN or infinite; the last epoch's checkpoint is kept.
        IsopruneError: If the settings, the data and the network do not fit together, or ``checkpoint``
            belongs to another training.
    """
    _check(model, splits, epochs=epochs, lr=lr, batch=batch, steps=steps)
    model = copy.deepcopy(model)
    # Fused: one kernel for all parameters, a tenth off the time of an epoch of mlp_7 on a CPU.
    optimizer = torch.optim.SGD(
        model.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay, fused=True
    )
    per_epoch = math.ceil(len(splits.train) / batch)
    total = epochs * per_epoch if steps is None else min(steps, epochs * per_epoch)
    epochs = math.ceil(total / per_epoch)
    train = splits.train.to(device_of(model))
    path = None if checkpoint is None else checkpoint.with_name(f"{checkpoint.name}.safetensors")
    history: list[Row] = []
    run: dict[str, Any] = {}
    if path is not None:
        settings = {"epochs": epochs, "batch": batch, "momentum": momentum, "weight_decay": weight_decay}
        if steps is not None:
            settings["steps"] = steps
        rates = {f"lr of epoch {e + 1}": lr * schedule(e * per_epoch / total) for e in range(epochs)}
        run = fingerprint(model, splits, generator, {**settings, **rates})
        history = restore_(path, model, optimizer, generator, run=run)
    for epoch in range(len(history), epochs + 1):
        began = time.perf_counter()
        row: Row = {"epoch": epoch}
        if epoch:
            first = (epoch - 1) * per_epoch
            rates = [lr * schedule(step / total) for step in range(first, min(first + per_epoch, total))]
            order = torch.randperm(len(train), generator=generator)[: len(rates) * batch]
            parts = order.to(train.targets.device).split(batch)
            losses, accuracy = _train_epoch(model, train, optimizer, rates=rates, batches=parts)
            _check_losses(losses, epoch, rates, path)
            row |= {"lr": rates[-1], "loss": _mean(losses, len(order), batch), "train_accuracy": accuracy}
        validation = evaluate(model, splits.validation)
        if not math.isfinite(validation["loss"]):
            raise _diverged(validation["loss"], epoch, None, row.get("lr"), path)
        row |= {f"validation_{name}": value for name, value in validation.items()}
        if measure is not None:
            with in_eval_mode(model):
                row |= measure(model)
        row["seconds"] = time.perf_counter() - began
        history.append(row)
        if keep is not None:
            with in_eval_mode(model):
                keep(epoch, model)
        if path is not None:
            save(path, model, optimizer, generator, run=run, history=history)
        if on_epoch is not None:
            on_epoch(dict(row))
    return model.eval(), history


def _train_epoch(
    model: nn.Module,
    train: Samples,
    optimizer: torch.optim.Optimizer,
    *,
    rates: list[float],
    batches: Sequence[Tensor],
) -> tuple[Tensor, float]:
    """Take one step per batch of indices and return the loss of each, and the fraction that was right."""
    model.train()
    losses, right = [], []
    for lr, (inputs, targets) in zip(rates, train.batches(batches), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = lr
        logits = model(inputs)
        loss = cross_entropy(logits, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        # Kept as tensors and read once an epoch: to read them here is to wait for the accelerator.
        losses.append(loss.detach())
        right.append((logits.detach().argmax(1) == targets).sum())
    return torch.stack(losses).double().cpu(), torch.stack(right).sum().item() / sum(map(len, batches))


def _mean(losses: Tensor, samples: int, batch: int) -> float:
    """Return the mean over samples: the last batch may be smaller and counts for less."""
    sizes = torch.full_like(losses, batch)
    sizes[-1] = samples - batch * (len(losses) - 1)
    return (losses @ sizes).item() / samples


def _check_losses(losses: Tensor, epoch: int, rates: list[float], path: Path | None) -> None:
    bad = (~losses.isfinite()).nonzero()
    if len(bad):
        step = int(bad[0])
        raise _diverged(losses[step].item(), epoch, step + 1, rates[step], path)


def _diverged(loss: float, epoch: int, step: int | None, lr: float | None, path: Path | None) -> Diverged:
    if epoch == 0:
        message = (
            f"The validation loss is {loss} before the first step: network or data hold NaN or infinity. "
            "Start from an earlier state, or look at the inputs."
        )
        return Diverged(message)
    where = f"at step {step} of epoch {epoch}" if step else f"in validation after epoch {epoch}"
    kept = f" The state after epoch {epoch - 1} is kept in {path}." if path else ""
    return Diverged(f"The loss is {loss} {where}, at learning rate {lr:g}. Lower lr.{kept}", epoch, step, lr)


def _check(
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
