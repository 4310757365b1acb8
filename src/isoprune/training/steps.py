"""The steps of an epoch: forward, backward, update, and the sums of the epoch's row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils._pytree import tree_map

from isoprune.signals.losses import loss_of
from isoprune.training.distill import Distill, distillation_loss
from isoprune.training.loop import Loop
from isoprune.training.processes import Processes
from isoprune.training.source import Batching
from isoprune.types import PenaltyTerm, Task
from isoprune.types.seeded import derived_seed, lent_generators, seeded
from isoprune.types.task import Metric, forward, to_device
from isoprune.types.training_cost import samples_estimated


@dataclass(frozen=True)
class Trainer:
    """Takes training steps: ``forward`` is ``model``, wrapped and compiled, as is the frozen teacher."""

    model: nn.Module
    forward: nn.Module
    optimizer: torch.optim.Optimizer
    processes: Processes
    loop: Loop
    task: Task
    distill: Distill | None = None
    averaged: AveragedModel | None = None
    penalty: PenaltyTerm | None = None
    factors: tuple[float, ...] = (1.0,)  # of each group's rate

    def precision(self) -> AbstractContextManager[object]:
        # Not accelerate's, whose precision is one for the whole process: dense and retrain may differ.
        if self.loop.precision == "full":
            return nullcontext()
        return torch.autocast(self.processes.device.type, dtype=torch.bfloat16)

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Those that are counted on training batches too."""
        return {name: metric for name, metric in self.task.measured.items() if metric.while_training}

    def inputs(self, batch: Any) -> Any:
        """Return what the forward takes of a batch that is on the device, laid out as the network is."""
        inputs = self.task.inputs_of(batch)
        return tree_map(_channels_last, inputs) if self.loop.channels_last else inputs


def _channels_last(part: Any) -> Any:
    if isinstance(part, Tensor) and part.dim() == 4:
        return part.contiguous(memory_format=torch.channels_last)
    return part


@dataclass(frozen=True)
class Epoch:
    """One pass: a learning rate for each step, the samples' order, and the step from which to average."""

    number: int
    rates: list[float]
    order: Tensor
    batch: int
    root: int  # all seeds of its steps come from it
    average_from: int
    first: int  # steps taken before it
    drawn: Tensor  # the generator's state before ``order`` was drawn
    began: float  # by time.perf_counter, less what it took before a checkpoint


@dataclass
class EpochSums:
    """Each step's losses and sizes and what metrics count, of this process; kept where they were computed."""

    # Of steps taken before a checkpoint, all processes'.
    before: dict[str, Tensor] = field(default_factory=dict)
    losses: list[Tensor] = field(default_factory=list)
    distilled: list[Tensor] = field(default_factory=list)
    penalties: list[Tensor] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    metrics: dict[str, list[Tensor]] = field(default_factory=dict)

    def collected(self, processes: Processes) -> dict[str, Tensor]:
        """Return losses and sizes of every step so far (float64), and the counts, over all processes."""
        found = dict(self.before)
        sizes = [torch.tensor(self.sizes, device=processes.device)] if self.sizes else []
        for name, steps in (
            ("losses", self.losses),
            ("distilled", self.distilled),
            ("penalties", self.penalties),
            ("sizes", sizes),
        ):
            if steps:
                own = steps[0] if name == "sizes" else torch.stack(steps)
                own = processes.total(own).cpu().double()
                found[name] = torch.cat([found[name], own]) if name in found else own
        for name, counts in self.metrics.items():
            # Summed first: a process has one for each piece, and perhaps more pieces than another.
            own, name = processes.total(torch.stack(counts).sum(0)).cpu(), f"metric/{name}"
            found[name] = found[name] + own if name in found else own
        return found


def step_seed(root: int, epoch: int, step: int, piece: int = 0) -> int:
    """Return the seed in [0, 2^63) of a step: it depends on where the step is, not on what came before it.

    So a training can go on from any step, and the generator that orders the samples is not drawn from.
    """
    return derived_seed(root, f"{epoch}:{step}:{piece}")


def take_steps(
    trainer: Trainer,
    train: Batching,
    epoch: Epoch,
    sums: EpochSums,
    *,
    start: int = 0,
    after: Callable[[int], None] | None = None,
) -> None:
    """Take the steps of an epoch from step ``start`` on.

    ``after`` is told how many are done after each but the last, which the end of the epoch follows.
    """
    here, optimizer = trainer.processes, trainer.optimizer
    batches = epoch.order.split(epoch.batch)
    plan = [here.pieces(batch, trainer.loop.accumulate) for batch in batches[start:]]
    seeds = [
        step_seed(epoch.root, epoch.number, step, here.rank * len(pieces) + i)
        for step, (pieces, _) in enumerate(plan, start)
        for i in range(len(pieces))
    ]
    supply = train.items.batches([piece for pieces, _ in plan for piece in pieces], seeds=seeds)
    parameters = [p for p in trainer.model.parameters() if p.requires_grad]
    metrics = trainer.metrics
    trainer.model.train()
    at = 0
    with lent_generators(device=here.device) as seed_:
        for step, (_, weights) in enumerate(plan, start):
            for group, factor in zip(optimizer.param_groups, trainer.factors, strict=True):
                group["lr"] = factor * epoch.rates[step]
            # Not the seed itself: what a sample is cropped by must not decide what Dropout drops.
            seed_(seeds[at] ^ 1)
            at += len(weights)
            optimizer.zero_grad()
            _backward(trainer, supply, weights, sums, metrics)
            if trainer.penalty is not None:
                _press(trainer, trainer.penalty, epoch.first + step, parameters, sums)
            if trainer.loop.clip is not None:
                nn.utils.clip_grad_norm_(parameters, trainer.loop.clip)
            optimizer.step()
            if trainer.penalty is not None:
                trainer.penalty.after_(epoch.first + step, epoch.rates[step])
            if trainer.averaged is not None and step >= epoch.average_from:
                trainer.averaged.update_parameters(trainer.model)
            if after is not None and step + 1 < len(batches):
                after(step + 1)


def _backward(
    trainer: Trainer,
    supply: Iterator[Any],
    weights: list[float],
    sums: EpochSums,
    metrics: Mapping[str, Metric],
) -> None:
    """Add up the gradient of one batch, piece by piece."""
    samples = 0
    for number, weight in enumerate(weights, start=1):
        batch = to_device(next(supply), trainer.processes.device)
        # Gradients travel between processes once a step.
        early = number < len(weights)
        with trainer.processes.without_sync(trainer.forward) if early else nullcontext():
            own, distilled, outputs = _losses(trainer, batch)
            loss = own
            if trainer.distill is not None and distilled is not None:
                loss = (1 - trainer.distill.weight) * own + trainer.distill.weight * distilled
            (loss if weight == 1 else weight * loss).backward()
        # Kept as tensors and read once an epoch: to read them here is to wait for the accelerator.
        share = weight / trainer.processes.count
        _add(sums.losses, own, share, new=number == 1)
        if distilled is not None:
            _add(sums.distilled, distilled, share, new=number == 1)
        samples += trainer.task.samples(batch) if weight else 0
        for name, metric in metrics.items():
            with torch.no_grad():
                counts = metric.counts(outputs, batch)
            sums.metrics.setdefault(name, []).append(counts if weight else 0 * counts)
    sums.sizes.append(samples)


def _press(
    trainer: Trainer, penalty: PenaltyTerm, step: int, parameters: list[nn.Parameter], sums: EpochSums
) -> None:
    """Add the penalty's gradient, once a step, in full precision.

    By hand and after the others have travelled: every process has the same, and none is to be sent.
    """
    loss = penalty(step)
    if loss.requires_grad:
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, found, strict=True):
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
    _add(sums.penalties, loss, 1 / trainer.processes.count, new=True)


def _losses(trainer: Trainer, batch: Any) -> tuple[Tensor, Tensor | None, Any]:
    """Return the task's loss, the distillation loss if there is a teacher, and the outputs."""
    inputs = trainer.inputs(batch)
    with trainer.precision(), trainer.processes.quiet():
        outputs = forward(trainer.forward, inputs)
    if trainer.loop.precision == "bf16":
        outputs = tree_map(_widened, outputs)
    loss = loss_of(trainer.task, outputs, batch)
    if (distill := trainer.distill) is None:
        return loss, None, outputs
    with torch.no_grad(), trainer.precision():
        wanted = forward(distill.teacher, inputs)
    distilled = distillation_loss(outputs, wanted.to(outputs.dtype), temperature=distill.temperature)
    return loss, distilled, outputs


def _widened(part: Any) -> Any:
    return part.float() if isinstance(part, Tensor) and part.dtype == torch.bfloat16 else part


def _add(steps: list[Tensor], loss: Tensor, share: float, *, new: bool) -> None:
    loss = loss.detach() if share == 1 else share * loss.detach()
    if new:
        steps.append(loss)
    else:
        steps[-1] = steps[-1] + loss


class _Reads(nn.Module):
    """The network as one that takes a whole batch: what `update_bn` passes on."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__()
        self.trainer, self.model = trainer, trainer.model

    def forward(self, batch: Any) -> None:
        batch = to_device(batch, self.trainer.processes.device)
        forward(self.model, self.trainer.inputs(batch))


def average_(trainer: Trainer, train: Batching, epoch: Epoch) -> None:
    """Put the averaged weights into the model, and estimate BatchNorm's statistics for them.

    Those of the way belong to other weights; the new ones are means over training samples that are drawn, or
    over a whole pass where items are batches.
    """
    averaged, model = trainer.averaged, trainer.model
    if averaged is None:
        return
    with torch.no_grad():
        for own, mean in zip(model.parameters(), averaged.module.parameters(), strict=True):
            own.copy_(mean)
    seed = step_seed(epoch.root, epoch.number, len(epoch.rates))
    places = torch.arange(len(train))
    most = samples_estimated(len(train), batch=epoch.batch)
    if most < len(train) and not train.whole_batches:
        places = torch.randperm(len(train), generator=seeded(seed))[:most]
    parts = places.split(epoch.batch)
    with lent_generators(seed, trainer.processes.device):
        # In tuples of one: of a list or tuple `update_bn` takes the first.
        torch.optim.swa_utils.update_bn(((batch,) for batch in train.items.batches(parts)), _Reads(trainer))
