"""The same number in all, drawn from the whole network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator

from isoprune.methods.checks.drawn import drawn
from isoprune.pruning.plan import numbers_kept
from isoprune.types import Plan, Units
from isoprune.types.method import method


@method(
    "check",
    grains=("channel", "filter", "kernel", "vector", "weight", "block"),
    label="random ticket",
    source="Frankle & Carbin, ICLR 2019, arXiv 1803.03635",
)
def random_ticket(plan: Plan, units: Sequence[Units], *, generator: Generator) -> Plan:
    """Keep as many units in all as the method did, drawn by chance from the whole network.

    One unit of every tensor stays, as with the method: a tensor without any would cut the network.

    Cost: a draw of every unit. Memory: an order of all units, 8 bytes a unit, and a bool a unit.
    """
    total, sizes = sum(numbers_kept(units, plan).values()), [u.size for u in units]
    free = torch.randperm(sum(sizes) - len(sizes), generator=generator)[: total - len(sizes)]
    edges = torch.tensor([size - 1 for size in sizes]).cumsum(0)
    # Each tensor lends all but one of its units to the draw.
    found = torch.bincount(torch.bucketize(free, edges, right=True), minlength=len(sizes))
    numbers = {u.name: 1 + int(n) for u, n in zip(units, found, strict=True)}
    return drawn(plan, units, numbers, generator)
