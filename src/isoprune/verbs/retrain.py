"""Training after pruning, as one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Generator, nn

from isoprune.methods import schedules
from isoprune.training.distill import Distill, read_distill
from isoprune.training.fit import fit
from isoprune.training.loop import PLAIN, Loop
from isoprune.training.tracking import Tracking
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
    loop: Loop = PLAIN,
    dense: nn.Module | None = None,
    distill: Distill | Mapping[str, float] | None = None,
    measure: Callable[[nn.Module], Mapping[str, float]] | None = None,
    on_epoch: Callable[[dict[str, Any]], object] | None = None,
    keep: Callable[[int, nn.Module], object] | None = None,
    tracked: Tracking | None = None,
    checkpoint: Path | None = None,
    save_steps: int | None = None,
    save_seconds: float = 60.0,
) -> tuple[nn.Module, list[dict[str, Any]]]:
    """Return a retrained copy of a pruned (and repaired) network, and its history; see ``fit``.

    ``schedule`` is a name in ``schedules.SCHEDULES``, with the default options of that function, or a
    schedule; ``seed`` decides the order of the samples. With ``distill`` (weight and temperature), it learns
    from ``dense`` as well as from the labels.
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
        loop=loop,
        teacher=dense,
        distill=read_distill(distill),
        generator=Generator().manual_seed(seed),
        measure=measure,
        on_epoch=on_epoch,
        keep=keep,
        tracked=tracked,
        checkpoint=checkpoint,
        save_steps=save_steps,
        save_seconds=save_seconds,
    )
