"""Accuracy and loss of a network on a split."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from isoprune.signals.modes import in_eval_mode
from isoprune.types import IsopruneError, Samples

# Of float32 inputs, in bytes: what a network holds at once is a few dozen times as much.
_INPUTS = 64e6
_MOST = 1000  # samples: more at once is no faster


@torch.no_grad()
def evaluate(
    model: nn.Module, split: Samples, *, batch: int | None = None, share: bool = False
) -> dict[str, float]:
    """Return {"accuracy": fraction of 1, "loss": mean cross-entropy in nats} in eval mode.

    The mode of every submodule is afterwards what it was. ``batch`` bounds the memory only; None: 1000
    samples, or fewer large ones, 106 images of 224 x 224 pixels in colour. With ``share``,
    each of the processes that `accelerate launch` started takes its part of the split and gets the result of
    the whole: all of them must call it, with the same network.
    """
    if not len(split):
        raise IsopruneError("The split holds no sample, so it has no accuracy. Look at how the data was cut.")
    device = device_of(model)
    parts = torch.arange(len(split)).split(_fitting(split) if batch is None else batch)
    rank, count = _place() if share else (0, 1)
    # Apple's GPUs have no float64: there the sums are kept on the CPU.
    sums = torch.zeros(2, dtype=torch.float64, device="cpu" if device.type == "mps" else device)
    with in_eval_mode(model):
        for inputs, targets in split.batches(parts[rank::count]):
            logits, there = model(inputs.to(device)), targets.to(device)
            sums[0] += (logits.argmax(1) == there).sum()
            sums[1] += cross_entropy(logits.to(sums.device).double(), there.to(sums.device), reduction="sum")
    if count > 1:
        torch.distributed.all_reduce(sums)
    right, loss = sums.tolist()
    return {"accuracy": right / len(split), "loss": loss / len(split)}


def _fitting(split: Samples) -> int:
    return min(max(int(_INPUTS // (4 * math.prod(split.in_shape))), 1), _MOST)


def _place() -> tuple[int, int]:
    """Return this process's rank and how many there are."""
    group = torch.distributed
    if not (group.is_available() and group.is_initialized()):
        return 0, 1
    return group.get_rank(), group.get_world_size()


def device_of(model: nn.Module) -> torch.device:
    """Return where the model's first parameter lives; the CPU if it has none."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))
