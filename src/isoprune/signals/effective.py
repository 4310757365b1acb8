"""A network as it computes: a copy that shares its tensors, with every parametrization worked out."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from isoprune.graph.cloning import clone_sharing


def effective(model: nn.Module) -> nn.Module:
    """Return a copy in eval mode whose weights are plain parameters of the names that the layers use.

    What no parametrization touches is shared with ``model``, which is left as it is. A weight that a mask
    holds is here the masked weight, so gradients are those of the weights that the forward works with.
    """
    copy = clone_sharing(model)
    seen: dict[int, nn.Parameter] = {}
    for module in copy.modules():
        module.training = False  # not .eval(), which a user's class may have given another meaning
        if is_parametrized(module):
            _work_out_(module, seen)
    return copy


@torch.no_grad()
def _work_out_(module: nn.Module, seen: dict[int, nn.Parameter]) -> None:
    # torch's remove_parametrizations writes into the original tensor, which is the user's.
    chains: Any = module.parametrizations
    values = {name: getattr(module, name).detach() for name in chains}
    originals = {name: id(getattr(chain, "original", chain)) for name, chain in chains.items()}
    del module.parametrizations
    module.__class__ = type(module).__bases__[0]
    for name, value in values.items():
        # Tied weights stay tied: several modules then work out the same original.
        parameter = nn.Parameter(value, requires_grad=value.is_floating_point())
        module.register_parameter(name, seen.setdefault(originals[name], parameter))
    if isinstance(module, nn.RNNBase):
        module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]
