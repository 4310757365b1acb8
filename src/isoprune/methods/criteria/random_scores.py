"""Random scores: the control that every criterion must beat."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator

from isoprune.signals import Signals
from isoprune.types import Scores, Units
from isoprune.types.method import method
from isoprune.types.units import DEPTH, GRAINS


@method("criterion", grains=(*GRAINS, DEPTH), follows_order=False, label="random")
def random(signals: Signals, units: Sequence[Units], *, generator: Generator) -> Scores:
    """Uniform random scores, drawn from ``generator`` units by units.

    Memory: a number a unit in float64.
    """
    return {u.name: torch.rand(u.shape, generator=generator, dtype=torch.float64) for u in units}
