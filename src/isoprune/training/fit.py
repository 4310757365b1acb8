"""The training loop: SGD on cross-entropy, one row of numbers per epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from isoprune.signals.modes import in_eval_mode
from isoprune.training import tracking
from isoprune.training.checks import (
    check_losses,
    check_penalty_steps,
    check_teacher,
    check_training,
    check_validation,
)
from isoprune.training.distill import Distill
from isoprune.training.evaluate import evaluate
from isoprune.training.loop import PLAIN, Loop, check_loop
from isoprune.training.prepare import handed_back, prepare
from isoprune.training.resume import Checkpoints, Pace, Progress, Row, State, fingerprint
from isoprune.training.steps import Epoch, Sums, Trainer, average_, take_steps
from isoprune.training.tracking import Tracking
from isoprune.types import Penalty, Samples, Schedule, Splits


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
    loop: Loop = PLAIN,
    teacher: nn.Module | None = None,
    distill: Distill | None = None,
    penalty: Callable[[nn.Module], Penalty] | None = None,
    generator: Generator,
    measure: Callable[[nn.Module], Mapping[str, float]] | None = None,
    on_epoch: Callable[[Row], object] | None = None,
    keep: Callable[[int, nn.Module], object] | None = None,
    tracked: Tracking | None = None,
    checkpoint: Path | None = None,
    save_steps: int | None = None,
    save_seconds: float = 60.0,
) -> tuple[nn.Module, list[Row]]:
    """Return a trained copy of ``model``, in eval mode with the weights of the last epoch, and the history.

    The history's first row is epoch 0, the state before the first step: epoch, validation_accuracy,
    validation_loss, seconds, and what ``measure`` gives. Later rows add lr (the last one used), loss and
    train_accuracy (both while training, before each step), and with ``distill`` distillation_loss, T² KL
    beside the cross-entropy that ``loss`` is, and with ``penalty`` its mean. Accuracies are
    fractions of 1, losses in nats.

    Args:
        model: Left as it is. It trains on the GPU if there is one (see `processes.join`), or with others like
            this process if `accelerate launch` started them; what is returned is where ``model`` is.
        splits: Train and validation are used; test is not.
        schedule: Progress of the whole training in [0, 1), at the start of each step -> factor on ``lr``.
        batch: Samples per step, over all processes; the last step of an epoch takes what is left.
        steps: At most so many in all: the last epoch ends with the last of them, and the schedule's progress
            counts to them. None: as many as ``epochs`` take.
        loop: How steps are taken: precision, accumulation, averaging and so on.
        teacher: The network to learn from, with ``distill``; left as it is.
        penalty: Given the copy that trains, returns what is added to its loss at every step.
        generator: Draws the order of every epoch; it moves on. What augmentation and layers such as Dropout
            draw depends on its initial seed, the epoch and the step.
        measure: Called on the network in eval mode before training and after every epoch.
        on_epoch: Called with each new row, when its checkpoint is written.
        keep: Called with the epoch and the network in eval mode after every epoch, 0 included, before that
            epoch's checkpoint is written: what it has put away is there whenever training goes on after it.
            Interrupted between the two, it is called again with the same weights.
        tracked: Trackers that are given every new row.
        checkpoint: Before and after every epoch, and within it, all state is in
            ``<checkpoint>.safetensors``. If that is there already, training goes on from it and ends with
            the bits (``seconds`` apart) of one that was never interrupted.
        save_steps: Within an epoch, write after every so many steps. None: go by ``save_seconds``.
        save_seconds: Write when so many have passed, and fifty times what the last writing took.

    Raises:
        Diverged: If the loss becomes NaN or infinite; the last checkpoint is kept.
        IsopruneError: If the settings, the data and the network do not fit together, or ``checkpoint``
            belongs to another training.
    """
    check_training(model, splits, epochs=epochs, lr=lr, batch=batch, steps=steps)
    check_loop(loop, model, momentum=momentum)
    check_teacher(teacher, distill, model, splits)
    per_epoch = math.ceil(len(splits.train) / batch)
    total = epochs * per_epoch if steps is None else min(steps, epochs * per_epoch)
    epochs = math.ceil(total / per_epoch)
    with tracking.joined(model, tracked) as (here, log):
        trainer = prepare(
            model,
            here,
            loop,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            teacher=teacher,
            distill=distill,
            penalty=penalty,
        )
        if trainer.penalty is not None:
            check_penalty_steps(trainer.penalty.steps, total)
        net, train = trainer.model, splits.train.to(here.device)
        files, progress = None, Progress()
        if checkpoint is not None:
            settings = {"epochs": epochs, "batch": batch, "momentum": momentum, "weight_decay": weight_decay}
            if steps is not None:
                settings["steps"] = steps
            rates = {f"lr of epoch {e + 1}": lr * schedule(e * per_epoch / total) for e in range(epochs)}
            run = fingerprint(model, splits, generator, {**settings, **rates, **trainer.choices()})
            state = State(net, trainer.optimizer, generator, trainer.averaged, trainer.penalty)
            files = Checkpoints(checkpoint, state, run, here, Pace(save_steps, save_seconds))
            progress = files.restored()
        history, root = list(progress.history), generator.initial_seed()
        averaged_from = total - max(round(loop.average * total), 1)
        for number in range(len(history), epochs + 1):
            began = time.perf_counter() - progress.seconds
            row: Row = {"epoch": number}
            if number:
                drawn, first = generator.get_state(), (number - 1) * per_epoch
                rates = [lr * schedule(step / total) for step in range(first, min(first + per_epoch, total))]
                order = torch.randperm(len(train), generator=generator)[: len(rates) * batch]
                order = order.to(train.targets.device)
                epoch = Epoch(number, rates, order, batch, root, averaged_from - first, first, drawn, began)
                row |= _train(trainer, train, epoch, progress, files)
                if number == epochs:
                    average_(trainer, train, epoch)
                # BatchNorm's statistics were each process's own until here.
                here.share_(net.buffers())
            validation = evaluate(net, splits.validation, share=True)
            check_validation(validation["loss"], number, row.get("lr"), files.kept if files else "")
            row |= {f"validation_{name}": value for name, value in validation.items()}
            with in_eval_mode(net):
                row |= measure(net) if measure is not None else {}
                row["seconds"] = time.perf_counter() - began
                history.append(row)
                if keep is not None and here.main:
                    keep(number, net)
            progress = Progress(history)
            if files is not None:
                files.write(progress)
            log(row)
            if on_epoch is not None and here.main:
                on_epoch(dict(row))
        return handed_back(net, model, loop), history


def _train(
    trainer: Trainer, train: Samples, epoch: Epoch, progress: Progress, files: Checkpoints | None
) -> Row:
    """Take the steps of the epoch that are left, and return its row's part on them."""
    sums = Sums(dict(progress.sums))

    def collected() -> dict[str, Tensor]:
        found = sums.collected(trainer.processes)
        for losses in (found["losses"], found.get("distilled")):
            if losses is not None:
                check_losses(losses, epoch.number, epoch.rates, files.kept if files else "")
        return found

    def save(step: int) -> None:
        if files is not None and files.due(step):
            # First the losses: a state that has diverged must not replace one that has not.
            found = collected()
            seconds = time.perf_counter() - epoch.began
            files.write(Progress(progress.history, step, seconds, found), drawn=epoch.drawn)

    take_steps(trainer, train, epoch, sums, start=progress.step, after=save if files else None)
    found = collected()
    samples = len(epoch.order)
    row: Row = {"lr": epoch.rates[-1], "loss": _mean(found["losses"], samples, epoch.batch)}
    row["train_accuracy"] = found["right"].item() / samples
    if "distilled" in found:
        row["distillation_loss"] = _mean(found["distilled"], samples, epoch.batch)
    if "penalties" in found:
        row["penalty"] = found["penalties"].mean().item()
    return row


def _mean(losses: Tensor, samples: int, batch: int) -> float:
    """Return the mean over samples: the last batch may be smaller and counts for less."""
    sizes = torch.full_like(losses, batch)
    sizes[-1] = samples - batch * (len(losses) - 1)
    return (losses @ sizes).item() / samples
