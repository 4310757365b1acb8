"""Training after pruning, as one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Generator, nn

from isoprune import schedules
from isoprune.training.fit import fit
from isoprune.types import Schedule, Splits


def retrain(
    repaired: nn.Module,
    splits: Splits,
    *,
    lr: float,
    epochs: int,
    schedule: str | Schedule = "step_decay",
    seed: int = 0,
    batch: int = 100,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    steps: int | None = None,
    measure: Callable[[nn.Module], Mapping[str, float]] | None = None,
    on_epoch: Callable[[dict[str, Any]], object] | None = None,
    checkpoint: Path | None = None,
) -> tuple[nn.Module, list[dict[str, Any]]]:
    """Return a retrained copy of a pruned (and repaired) network, and its history; see ``fit``.

    ``schedule`` is a name in ``schedules.SCHEDULES``, with the default options of that function, or a
    schedule; ``seed`` decides the order of the samples.
    """
    if isinstance(schedule, str):
        schedule = schedules.build(schedule, epochs=max(epochs, 1))
    return fit(
        repaired,
        splits,
        epochs=epochs,
        lr=lr,
        schedule=schedule,
        batch=batch,
        momentum=momentum,
        weight_decay=weight_decay,
        steps=steps,
        generator=Generator().manual_seed(seed),
        measure=measure,
        on_epoch=on_epoch,
        checkpoint=checkpoint,
    )
