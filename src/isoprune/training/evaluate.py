"""Accuracy and loss of a network on a split."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from isoprune.modes import in_eval_mode
from isoprune.types import IsopruneError, Samples


@torch.no_grad()
def evaluate(model: nn.Module, split: Samples, *, batch: int = 1000) -> dict[str, float]:
    """Return {"accuracy": fraction of 1, "loss": mean cross-entropy in nats} in eval mode.

    The mode of every submodule is afterwards what it was. ``batch`` bounds the memory only.
    """
    if not len(split):
        raise IsopruneError("The split holds no sample, so it has no accuracy. Look at how the data was cut.")
    device = device_of(model)
    right, loss = (torch.zeros((), dtype=torch.float64, device=device) for _ in range(2))
    with in_eval_mode(model):
        for inputs, targets in split.batches(torch.arange(len(split)).split(batch)):
            logits, there = model(inputs.to(device)), targets.to(device)
            right += (logits.argmax(1) == there).sum()
            loss += cross_entropy(logits.double(), there, reduction="sum")
    return {"accuracy": right.item() / len(split), "loss": loss.item() / len(split)}


def device_of(model: nn.Module) -> torch.device:
    """Return where the model's first parameter lives; the CPU if it has none."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))
