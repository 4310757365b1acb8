"""Learning rates step by step, as the training loop asks a schedule for them and as torch steps its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from isoprune.types import Schedule


def ours(schedule: Schedule, *, epochs: int, steps: int, lr: float = 1.0) -> list[float]:
    """Return the rate of every step; progress is the quotient that `fit` makes."""
    total = epochs * steps
    return [lr * schedule(step / total) for step in range(total)]


def per_epoch(schedule: Schedule, epochs: int, lr: float = 1.0, steps: int = 7) -> list[float]:
    """Return the rate of every epoch, after a look that it changes between epochs only."""
    rates = ours(schedule, epochs=epochs, steps=steps, lr=lr)
    table = [rates[i : i + steps] for i in range(0, len(rates), steps)]
    assert all(len(set(row)) == 1 for row in table)
    return [row[0] for row in table]


def changes(schedule: Schedule, epochs: int, lr: float = 1.0) -> dict[int, float]:
    """Return epoch -> rate where it changes, the first epoch included."""
    rates = per_epoch(schedule, epochs, lr)
    return {e: rates[e] for e in range(epochs) if e == 0 or rates[e] != rates[e - 1]}


def torchs(make: Callable[[torch.optim.Optimizer], Any], steps: int, *, lr: float = 1.0) -> list[float]:
    """Return the rate of every step under one of torch's schedulers, stepped after each."""
    optimizer = torch.optim.SGD(
        [torch.zeros(1, dtype=torch.float64, requires_grad=True)], lr=lr, momentum=0.9
    )
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates
