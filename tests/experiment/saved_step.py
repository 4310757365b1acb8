"""A step's folder with a network of two tensors in it, saved and read as a store does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from isoprune.experiment.networks import Made, read_made, save_step
from isoprune.experiment.store import read_step
from isoprune.pruning.pruned import as_pruned
from isoprune.types import Plan


class Two(nn.Module):
    def __init__(self, weight: Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 3, dtype=torch.float64) if weight is None else weight)
        self.register_buffer("count", torch.tensor(0 if weight is None else 7))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T


WEIGHT = torch.arange(6, dtype=torch.float64).reshape(2, 3)


def saved_step(folder: Path, *, weight: Tensor = WEIGHT, **facts: Any) -> Path:
    """Save a step whose network has ``weight`` and a count of 7."""
    model = Two(weight)
    save_step(
        folder,
        Made(model, Plan(), as_pruned(model).costs),
        {"digest": folder.name} | facts,
        dense=Two(torch.zeros_like(weight)),
        example=torch.zeros(1, 3, dtype=torch.float64),
        source="two",
    )
    return folder


def tensors_in(folder: Path, *, like: Tensor = WEIGHT) -> dict[str, Tensor]:
    """Return the tensors of the network that a finished step has."""
    facts = read_step(folder)
    assert facts is not None
    return dict(read_made(folder, facts, lambda: Two(torch.zeros_like(like))).model.state_dict())
