"""The training loop of any task and optimizer, one row of numbers per epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from torch import Generator, Tensor, nn

from isoprune.pruning.mask import check_masks, masks_of
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
from isoprune.training.fingerprint import choices, fingerprint
from isoprune.training.prepare import handed_back, prepare
from isoprune.training.resume import Checkpoints, Pace, Progress, State
from isoprune.training.settings import Row, Saving, Trained, Training, Watch
from isoprune.training.source import Batching, note_stream, source_of
from isoprune.training.steps import Epoch, EpochSums, Trainer, average_, take_steps
from isoprune.types import CLASSIFICATION, Data, PenaltyTerm, Splits, Task


def fit(
    model: nn.Module,
    data: Data | Splits,
    training: Training,
    *,
    generator: Generator,
    task: Task = CLASSIFICATION,
    distill: Distill | None = None,
    penalty: Callable[[nn.Module], PenaltyTerm] | None = None,
    watch: Watch | None = None,
    saving: Saving | None = None,
) -> Trained:
    """Return a trained copy of ``model``, in eval mode with the weights of the last epoch, and the history.

    The history's first row is epoch 0, the state before the first step: epoch, what the task measures as
    validation_accuracy, validation_loss and so on, seconds, and what ``watch.measure`` gives. Later rows add
    lr (the last one used), loss and, of a classification, train_accuracy (both while training, before each
    step), and with ``distill`` distillation_loss, T² KL beside the loss of the labels, and with ``penalty``
    its mean. Accuracies are fractions of 1, losses in nats.

    Args:
        model: Left as it is. It trains on the GPU if there is one (see `processes.join`), or with others like
            this process if `accelerate launch` started them; what is returned is where ``model`` is. What its
            masks (parametrizations) hold at zero stays zero.
        data: Train and validation are used; test is not. Without validation, rows have no numbers of it.
        generator: Draws the order of every epoch; it moves on. What data and layers such as Dropout draw
            depends on its initial seed, the epoch and the step.
        task: What a batch means.
        distill: The network to learn from, which is left as it is.
        penalty: Given the copy that trains, returns what is added to its loss at every step.

    Raises:
        Diverged: If the loss becomes NaN or infinite; the last checkpoint is kept.
        IsopruneError: If the settings, the data and the network do not fit together, or the checkpoint
            belongs to another training.
    """
    watch = watch or Watch()
    training.check()
    train = source_of(data.train, training.batch)
    validation = None if data.validation is None else source_of(data.validation)
    check_training(model, train, validation, training, task)
    check_teacher(distill, model, train, task)
    per_epoch = train.steps
    total = training.epochs * per_epoch
    total = total if training.steps is None else min(training.steps, total)
    epochs = math.ceil(total / per_epoch)
    if not train.resumable and total:
        note_stream()
    with tracking.joined(model, watch.tracked) as (here, log):
        trainer = prepare(model, here, training, task, distill=distill, penalty=penalty)
        if trainer.penalty is not None:
            check_penalty_steps(trainer.penalty.steps, total)
        net, train, masks = trainer.model, train.to(here.device), masks_of(model)
        files, progress = None, Progress()
        rates = [training.lr * training.schedule(step / total) for step in range(total)]
        if saving is not None:
            how = choices(trainer, train, rates, training.steps)
            run = fingerprint(model, data, generator, how)
            state = State(net, trainer.optimizer, generator, trainer.averaged, trainer.penalty)
            files = Checkpoints(saving.path, state, run, here, Pace(saving.steps, saving.seconds))
            progress = files.restored()
        history, root = list(progress.history), generator.initial_seed()
        averaged_from = total - max(round(training.loop.average * total), 1)
        for number in range(len(history), epochs + 1):
            began = time.perf_counter() - progress.seconds
            row: Row = {"epoch": number}
            if number:
                drawn, first = generator.get_state(), (number - 1) * per_epoch
                own = rates[first : first + per_epoch]
                order = train.order(generator)[: len(own) * train.batch]
                epoch = Epoch(
                    number, own, order, train.batch, root, averaged_from - first, first, drawn, began
                )
                row |= _train(trainer, train, epoch, progress, files)
                if number == epochs:
                    average_(trainer, train, epoch)
                # BatchNorm's statistics were each process's own until here.
                here.share_(net.buffers())
                check_masks(net, masks)
            if validation is not None:
                measured = evaluate(net, validation, task=task, share=True)
                check_validation(
                    measured.get("loss", 0.0), number, row.get("lr"), files.kept if files else ""
                )
                row |= {f"validation_{name}": value for name, value in measured.items()}
            with in_eval_mode(net):
                row |= watch.measure(net) if watch.measure is not None else {}
                row["seconds"] = time.perf_counter() - began
                history.append(row)
                if watch.keep is not None and here.main:
                    watch.keep(number, net)
            progress = Progress(history)
            if files is not None:
                files.write(progress)
            log(row)
            if watch.on_epoch is not None and here.main:
                watch.on_epoch(dict(row))
        return Trained(handed_back(net, model, training.loop), history)


def _train(
    trainer: Trainer, train: Batching, epoch: Epoch, progress: Progress, files: Checkpoints | None
) -> Row:
    """Take the steps of the epoch that are left, and return its row's part on them."""
    sums = EpochSums(dict(progress.sums))

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

    between = save if files is not None and train.resumable else None
    take_steps(trainer, train, epoch, sums, start=progress.step, after=between)
    found = collected()
    sizes = found["sizes"]
    samples = int(sizes.sum())
    row: Row = {"lr": epoch.rates[-1], "loss": (found["losses"] @ sizes).item() / samples}
    for name, metric in trainer.metrics.items():
        row[f"train_{name}"] = float(metric.value(found[f"metric/{name}"], samples))
    if "distilled" in found:
        row["distillation_loss"] = (found["distilled"] @ sizes).item() / samples
    if "penalties" in found:
        row["penalty"] = found["penalties"].mean().item()
    return row
