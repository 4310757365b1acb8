"""A training of a small network that is saved and gone on with."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from isoprune.methods.schedules import step_decay

from .small import fit, seeded, small_net, small_splits

RECIPE = {
    "epochs": 4,
    "lr": 0.05,
    "schedule": step_decay(epochs=4, milestones=[2], gamma=0.3),
    "batch": 5,
    "momentum": 0.8,
    "weight_decay": 0.02,
}


def measure(model: nn.Module) -> dict[str, float]:
    return {"norm": model[1].weight.norm().item()}


def train(path: Path | None, *, seed: int = 3, dtype=torch.float32, **changes):
    arguments = {"model": small_net(dtype), "splits": small_splits(dtype=dtype), **RECIPE, **changes}
    model, splits = arguments.pop("model"), arguments.pop("splits")
    return fit(model, splits, **arguments, generator=seeded(seed), measure=measure, checkpoint=path)
