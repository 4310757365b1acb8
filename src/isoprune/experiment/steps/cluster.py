"""The network of a step whose weights are shared numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from isoprune.experiment.networks import Made
from isoprune.experiment.recipe_steps import PlacedStep
from isoprune.experiment.step_result import Bench, StepResult
from isoprune.experiment.step_types import Cluster
from isoprune.methods.codecs import cluster, coded_bytes
from isoprune.methods.codecs.clusters import clustered


def make_clustered(_: Bench, step: PlacedStep, way: Sequence[StepResult], __: Path) -> Made:
    """Return the last network with shared weights, and the bytes of its file."""
    assert isinstance(step.step, Cluster)
    last = way[-1]
    model = cluster(last.model, conv_bits=step.step.conv_bits, linear_bits=step.step.linear_bits).model
    return Made(model, last.plan, last.costs, coded(model))


def coded(model: nn.Module) -> dict[str, Any]:
    """Return what a store knows of shared weights: the bytes of the file that `compress` writes."""
    return {"coded_bytes": coded_bytes(model)} if clustered(model) else {}
