"""Eval or train mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.dropout import _DropoutNd

from isoprune.types.seeded import lent_generators


@contextmanager
def in_eval_mode(*models: nn.Module) -> Iterator[None]:
    """Put networks into eval mode, and afterwards each of their submodules back into its own."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    # Not model.eval(), which a user's class may have given another meaning.
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def in_train_mode(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Put a network in eval mode into train mode, but for what couples samples or drops some of them.

    torch's generators are seeded, and afterwards as before.
    """
    modules = [m for m in model.modules() if not isinstance(m, _NormBase | _DropoutNd)]
    for module in modules:
        module.training = True
    try:
        with lent_generators(0, device):
            yield
    finally:
        for module in modules:
            module.training = False


def normalised_by_batch(copy: nn.Module) -> nn.Module:
    """Return a copy in eval mode, its BatchNorm layers changed to normalise by the batch at hand.

    They have no running statistics then, so none move: those of the network that shares its tensors with the
    copy stay as they are. Dropout stays off.
    """
    for module in copy.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean = module.running_var = None
    return copy
