"""What a network is worth on a split: its task's metrics and its loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from isoprune.signals.losses import reading_outputs
from isoprune.signals.modes import in_eval_mode
from isoprune.training.source import source_of
from isoprune.types import CLASSIFICATION, IsopruneError, Network, Samples, Task, module_of
from isoprune.types.network import device_of
from isoprune.types.seeded import lent_generators
from isoprune.types.task import to_device

# Of float32 inputs, in bytes: what a network holds at once is a few dozen times as much.
_INPUTS = 64e6
_MOST = 1000  # samples: more at once is no faster


@torch.no_grad()
def evaluate(
    network: Network,
    data: Any,
    *,
    task: Task = CLASSIFICATION,
    batch: int | None = None,
    share: bool = False,
) -> dict[str, float]:
    """Return what the task measures, in eval mode; of a classification {"accuracy": of 1, "loss": in nats}.

    The mode of every submodule is afterwards what it was. ``data`` is `Samples`, a Dataset, a DataLoader, or
    batches. ``batch`` bounds the memory only; None: that of the DataLoader, 100 of a Dataset, and of
    `Samples` 1000 or fewer large ones, 106 images of 224 x 224 pixels in colour. With ``share``,
    each of the processes that `accelerate launch` started takes its part of the split and gets the result of
    the whole: all of them must call it, with the same network.
    """
    model, source = module_of(network), source_of(data, batch)
    device, size = device_of(model), batch or source.batch
    if batch is None and isinstance(source.items, Samples) and source.targets is not None:
        size = _fitting(source.items)
    parts = torch.arange(len(source)).split(size if not source.whole_batches else 1)
    rank, count = _place() if share else (0, 1)
    totals: dict[str, Any] = {}
    samples = 0
    if source.resumable:
        batches = source.items.batches(parts[rank::count])
    else:
        batches = islice(source.items.batches(parts), rank, None, count)
    with in_eval_mode(model), lent_generators():
        for one in batches:
            one = to_device(one, device)
            outputs = task.outputs(model, one)
            if device.type == "mps":
                # Apple's GPUs have no float64: there the sums are made on the CPU.
                outputs, one = to_device(outputs, torch.device("cpu")), to_device(one, torch.device("cpu"))
            samples += task.samples(one)
            for name, metric in task.measured.items():
                with reading_outputs(f"metric {name!r}", task, outputs, one):
                    counts = metric.counts(outputs, one)
                totals[name] = totals[name] + counts if name in totals else counts
    if count > 1:
        samples, totals = _over_processes(samples, totals)
    return {name: float(metric.value(totals[name], samples)) for name, metric in task.measured.items()}


def _over_processes(samples: int, totals: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Return the sums over all processes; one that had no batch has none to add."""
    own = {name: counts.cpu() if isinstance(counts, Tensor) else counts for name, counts in totals.items()}
    every: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(every, (samples, own))
    summed: dict[str, Any] = {}
    for _, part in every:
        for name, counts in part.items():
            summed[name] = summed[name] + counts if name in summed else counts
    return sum(count for count, _ in every), summed


def _fitting(split: Samples) -> int:
    return min(max(int(_INPUTS // (4 * math.prod(split.in_shape))), 1), _MOST)


def _place() -> tuple[int, int]:
    """Return this process's rank and how many there are."""
    group = torch.distributed
    if not (group.is_available() and group.is_initialized()):
        return 0, 1
    return group.get_rank(), group.get_world_size()


def trainability_accuracy(history: Sequence[Mapping[str, Any]], *, epochs: int) -> float:
    r"""Return :math:`T = \frac{1}{N} \sum_{i \le N} \text{Acc}_i`, the mean validation accuracy.

    The sum runs over epochs 1 to N; N, here ``epochs``, is how many the first learning rate lasts.
    Two T can be compared only under one schedule. The state before the first step (epoch 0) does not count.

    Source: Wang, Qin, Bai & Fu, 2023, arXiv 2301.05219.

    Raises:
        IsopruneError: If the history does not hold these epochs.
    """
    accuracies = [row["validation_accuracy"] for row in history if 1 <= row["epoch"] <= epochs]
    if epochs < 1 or len(accuracies) < epochs:
        raise IsopruneError(
            f"Trainability accuracy over {epochs} epochs cannot be read off a history of {len(accuracies)}. "
            "Give the number of epochs at the first learning rate, at least 1, or train longer."
        )
    return fmean(accuracies)
