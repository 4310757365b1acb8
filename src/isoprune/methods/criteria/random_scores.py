"""Random scores: the control that every criterion must beat."""

from __future__ import annotations

import torch
from torch import Generator, nn

from isoprune.graph import Graph
from isoprune.types import Batches, Scores


def random(
    model: nn.Module,
    graph: Graph,
    batches: Batches | None,
    *,
    generator: Generator,
) -> Scores:
    """Uniform random scores, drawn from ``generator`` group by group."""
    return {g.name: torch.rand(g.size, generator=generator, dtype=torch.float64) for g in graph.groups}
