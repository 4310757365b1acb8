"""A network as it computes: a copy that shares its tensors, with every parametrization worked out."""

from __future__ import annotations

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
    for module in copy.modules():
        module.training = False  # not .eval(), which a user's class may have given another meaning
        if is_parametrized(module):
            _work_out_(module)
    return copy


@torch.no_grad()
def _work_out_(module: nn.Module) -> None:
    # torch's remove_parametrizations writes into the original tensor, which is the user's.
    values = {name: getattr(module, name).detach() for name in module.parametrizations}  # pyright: ignore
    del module.parametrizations
    module.__class__ = type(module).__bases__[0]
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value, requires_grad=value.is_floating_point()))
