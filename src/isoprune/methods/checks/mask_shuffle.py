"""The same numbers in every tensor, other units."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Generator

from isoprune.methods.checks.drawn import drawn
from isoprune.pruning.plan import numbers_kept
from isoprune.types import Plan, Units
from isoprune.types.method import method


@method(
    "check",
    grains=("channel", "filter", "kernel", "vector", "weight", "block"),
    label="mask shuffled in each layer",
    source="Su et al., NeurIPS 2020, arXiv 2009.11094; Frankle et al., ICLR 2021, arXiv 2009.08576",
)
def mask_shuffle(plan: Plan, units: Sequence[Units], *, generator: Generator) -> Plan:
    """Keep as many units of every tensor as the method did, drawn by chance: its own ratios, nothing else.

    A method that is level with it has chosen how much goes of each layer, and no unit.

    Cost: a draw of every unit. Memory: an order of the units of one tensor, 8 bytes a unit, and a bool a
    unit.
    """
    return drawn(plan, units, numbers_kept(units, plan), generator)
