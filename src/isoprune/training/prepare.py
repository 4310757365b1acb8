"""Prepares a network for training, and turns the trained copy back into a plain network."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from isoprune.training.distill import Distill
from isoprune.training.loop import Loop
from isoprune.training.processes import Processes
from isoprune.training.settings import Training
from isoprune.training.steps import Trainer
from isoprune.types import IsopruneError, PenaltyTerm, Task
from isoprune.types.network import device_of
from isoprune.types.task import cross_entropy_loss


def prepare(
    model: nn.Module,
    here: Processes,
    training: Training,
    task: Task,
    *,
    distill: Distill | None = None,
    penalty: Callable[[nn.Module], PenaltyTerm] | None = None,
) -> Trainer:
    """Return a copy of ``model`` on its device, its optimizer and penalty, and a copy of its teacher."""
    loop = training.loop
    if loop.label_smoothing:
        smoothed = functools.partial(cross_entropy_loss, label_smoothing=loop.label_smoothing)
        task = dataclasses.replace(task, loss=smoothed)
    model = _laid_out(model, here, loop)
    if loop.sync_batchnorm and here.count > 1:
        if here.device.type == "cpu":
            raise IsopruneError(
                "sync_batchnorm needs GPUs: torch has none for processes on CPUs. Leave it out; BatchNorm "
                "then sees each process's slice of a batch."
            )
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    optimizer = training.build_optimizer(model.parameters())
    usual = optimizer.defaults.get("lr")
    if distill is not None:
        teacher = _laid_out(distill.teacher, here, loop).requires_grad_(False)
        for module in teacher.modules():
            module.training = False
        distill = dataclasses.replace(distill, teacher=_compiled(teacher, loop))
    return Trainer(
        model=model,
        forward=_compiled(here.prepared(model), loop),
        optimizer=optimizer,
        processes=here,
        loop=loop,
        task=task,
        distill=distill,
        averaged=AveragedModel(model) if loop.average else None,
        penalty=None if penalty is None else penalty(model),
        factors=tuple(group.get("lr", usual) / usual if usual else 1.0 for group in optimizer.param_groups),
    )


def handed_back(model: nn.Module, original: nn.Module, loop: Loop) -> nn.Module:
    """Return the trained copy in eval mode, on the device, laid out and built as the original is."""
    unsynced_(model, original)
    if loop.channels_last:
        model = model.to(memory_format=torch.contiguous_format)
    return model.to(device_of(original)).eval()


def unsynced_(model: nn.Module, original: nn.Module) -> None:
    """Put the original's kind of BatchNorm where a synchronised one is, with its weights and statistics."""
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.SyncBatchNorm) and type(original.get_submodule(name)) is not type(module):
            plain = copy.copy(original.get_submodule(name))
            plain._parameters, plain._buffers = module._parameters, module._buffers
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, plain)


def _laid_out(model: nn.Module, here: Processes, loop: Loop) -> nn.Module:
    copied = copy.deepcopy(model).to(here.device)
    return copied.to(memory_format=torch.channels_last) if loop.channels_last else copied


def _compiled(model: nn.Module, loop: Loop) -> nn.Module:
    # Shares the parameters; the network itself stays as it is, for evaluation, measuring and checkpoints.
    return torch.compile(model) if loop.compile else model  # pyright: ignore[reportReturnType]
