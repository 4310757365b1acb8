"""Proof that the small network computes what the dense one does without the removed channels."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from isoprune.graph import Graph
from isoprune.graph.trace import as_call, clone_sharing, tensors_in
from isoprune.pruning.reference import zeroed_forward
from isoprune.types import IsopruneError, Plan

# Relative to the largest output. Float32 sums in another order differ by some 1e-6 a layer.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}


@dataclass(frozen=True)
class Proof:
    """How far the small network is from the dense one with channels zeroed.

    ``statistics`` names where a mean or a norm ran over channels that went: there the function
    changes, as it must, and the reference restricts the statistic to what stays.
    """

    max_abs_error: float
    scale: float
    statistics: tuple[str, ...] = ()

    @property
    def relative_error(self) -> float:
        return self.max_abs_error / self.scale if self.scale else self.max_abs_error


class WrongNetwork(IsopruneError):
    """A smaller network that does not compute what it should: never handed out."""


class NotFinite(WrongNetwork):
    """Outputs from which nothing can be proven."""


def verify(model: nn.Module, small: nn.Module, graph: Graph, plan: Plan, inputs: Any) -> Proof:
    """Return the largest difference of ``small`` from ``model`` with the plan's channels zeroed.

    Channels are zeroed where the next layer reads them (after BatchNorm and activation). Both run in eval
    mode on ``inputs``, and are left as they were. Cost: one forward of each.

    Raises:
        WrongNetwork: If they differ by more than rounding: 1e-4 of the output in float32, 1e-10 in float64.
    """
    dense, little = (clone_sharing(m).eval() for m in (model, small))
    inputs = tree_map_only(torch.Tensor, torch.Tensor.clone, inputs)
    want, statistics = zeroed_forward(dense, graph, graph.kept_ids(plan), copy.copy(inputs))
    return compared(want, little, inputs, tuple(sorted(statistics)))


def compared(want: Any, little: nn.Module, inputs: Any, statistics: tuple[str, ...] = ()) -> Proof:
    """Return how far the outputs of ``little`` on ``inputs`` are from ``want``; raises as `verify` does."""
    args, kwargs = as_call(inputs)
    try:
        with torch.no_grad():
            got = little(*args, **kwargs)
    except Exception as problem:
        raise WrongNetwork(
            f"The smaller network does not run: {type(problem).__name__}: {problem}. It is not handed out; "
            "`prune` leaves out what does not fit."
        ) from problem
    error, scale, tolerance = 0.0, 0.0, 0.0
    for a, b in zip(tensors_in(want), tensors_in(got), strict=True):
        if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
            raise NotFinite(
                "The network's output holds NaN or infinity, so nothing can be proven. "
                "Give example_inputs like the data it was trained on."
            )
        error = max(error, float((a - b).abs().max()))
        scale = max(scale, float(a.abs().max()))
        tolerance = max(tolerance, TOLERANCE.get(a.dtype, 1e-4))
    if error > tolerance * max(scale, torch.finfo(torch.float32).tiny):
        raise WrongNetwork(
            f"The smaller network differs from the dense one by {error:.2g} on outputs up to {scale:.2g}. "
            "It is not handed out. Please report the model's class and the plan."
        )
    return Proof(error, scale, statistics)
