"""What one forward costs, counted and not measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from isoprune.graph import trace
from isoprune.pruning.costs import everything, flops


@dataclass(frozen=True)
class Work:
    """Parameters, and multiply-adds of convolutions, linear layers and attention for one sample."""

    parameters: int
    flops: int


def work_of(model: nn.Module, example_inputs: Any) -> Work:
    graph = trace(model, example_inputs)
    return Work(sum(p.numel() for p in model.parameters()), flops(graph, everything(graph)))
