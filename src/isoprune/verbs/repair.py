"""Repair a pruned network before it is retrained."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from isoprune.methods.repairs import REPAIRS, chain
from isoprune.pruning import Pruned
from isoprune.types import Batches
from isoprune.types.errors import pick


def repair(
    result: Pruned,
    method: str | Callable[..., nn.Module] | Sequence[str | Callable[..., nn.Module]] = "auto",
    *,
    dense: nn.Module | None = None,
    batches: Batches | None = None,
    seed: int = 0,
    **options: Any,
) -> nn.Module:
    """Return a repaired copy of the pruned network: what to retrain.

    Args:
        result: From `isoprune.prune`.
        method: A name that `isoprune methods` lists, a function of your own with a repair's signature, or a
            list of them, done one after the other. "auto" needs ``dense`` and ``batches``.
        dense: The network before pruning, for repairs that look at it.
        batches: Data, for repairs that need some; never labels of validation or test.
        seed: For repairs that draw.
        options: The method's own; those of a list's steps are bound with functools.partial.

    Raises:
        IsopruneError: If the method is unknown, or lacks what it needs.
    """

    def found(one: str | Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        return pick(REPAIRS, one, "repair") if isinstance(one, str) else one

    if isinstance(method, str) or callable(method):
        method = found(method)
    else:
        method = functools.partial(chain, steps=[found(one) for one in method])
    generator = torch.Generator().manual_seed(seed)
    return method(
        result.model, dense=dense, plan=result.plan, batches=batches, generator=generator, **options
    )
