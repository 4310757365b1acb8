"""A copy of a network to write into, masked or not."""

from __future__ import annotations

import copy

from torch import Tensor, nn


def copied(model: nn.Module) -> nn.Module:
    """Return a deep copy, also where `torch.nn.utils.prune` has put a masked weight beside its original.

    Such a weight is the result of a computation, which `copy.deepcopy` refuses; its value is copied.
    """
    memo: dict[int, Tensor] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    return copy.deepcopy(model, memo)
