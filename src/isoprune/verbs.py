"""The library's verbs on a `PruneResult`: thin, so that a script reads as the story."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from isoprune import pruning
from isoprune.errors import pick
from isoprune.pruning import PruneResult
from isoprune.repairs import REPAIRS
from isoprune.types import Batches


def verify(model: nn.Module, result: PruneResult, example_inputs: Any) -> float:
    """Return the largest absolute difference of the small network from the dense one with channels zeroed.

    Raises:
        WrongNetwork: If it is more than rounding; see `isoprune.pruning.verify`.
    """
    proof = pruning.verify(model, result.model, result.graph, result.plan, example_inputs)
    return proof.max_abs_error


def repair(
    result: PruneResult,
    method: str | Callable[..., nn.Module] = "orthp",
    *,
    dense: nn.Module | None = None,
    batches: Batches | None = None,
    seed: int = 0,
    **options: Any,
) -> nn.Module:
    """Return a repaired copy of the pruned network: what to retrain.

    Args:
        result: From `isoprune.prune`.
        method: A name that `isoprune methods` lists, or a function of your own with a repair's signature.
        dense: The network before pruning, for repairs that look at it.
        batches: Data, for repairs that need some; never labels of validation or test.
        seed: For repairs that draw.
        options: The method's own.

    Raises:
        IsopruneError: If the method is unknown.
    """
    if isinstance(method, str):
        method = pick(REPAIRS, method, "repair")
    generator = torch.Generator().manual_seed(seed)
    return method(
        result.model, dense=dense, plan=result.plan, batches=batches, generator=generator, **options
    )
