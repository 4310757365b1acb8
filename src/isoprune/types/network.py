"""A network in any form: a module, an object that holds one (such as a `Pruned`), or torch's wrappers."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from isoprune.types.errors import IsopruneError


@runtime_checkable
class HoldsModel(Protocol):
    """An object that holds a network as its attribute ``model``."""

    @property
    def model(self) -> nn.Module: ...


Network = nn.Module | HoldsModel


def device_of(model: nn.Module) -> torch.device:
    """Return where the model's first parameter lives; the CPU if it has none."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def module_of(network: Network) -> nn.Module:
    """Return the module itself, out of DistributedDataParallel, DataParallel and torch.compile too.

    A module that has an attribute ``model`` of its own is itself.

    Raises:
        IsopruneError: For what is no module; for TorchScript and sharded modules, which have no tensors of
            their own to make smaller; for lazy ones that have no shapes yet.
    """
    module = network if isinstance(network, nn.Module) else getattr(network, "model", None)
    if not isinstance(module, nn.Module) or isinstance(network, type):
        kind = f"the class {network.__name__}" if isinstance(network, type) else f"a {type(network).__name__}"
        raise IsopruneError(
            f"The network is {kind}, not a module. Give an nn.Module, such as model = Net(), or what a verb "
            "of isoprune gave back."
        )
    if isinstance(module, nn.parallel.DistributedDataParallel | nn.DataParallel):
        return module_of(module.module)
    if type(module).__name__ == "OptimizedModule" and "_orig_mod" in module._modules:  # of torch.compile
        return module_of(module._orig_mod)  # pyright: ignore[reportArgumentType]
    if isinstance(module, torch.jit.ScriptModule):
        raise IsopruneError(
            "The network is a TorchScript module (torch.jit.trace or torch.jit.script), whose code is fixed "
            "to its sizes. Give the nn.Module that it was made from, and trace or script the smaller network."
        )
    if type(module).__name__ == "FullyShardedDataParallel":
        raise IsopruneError(
            "The network's parameters are sharded (FullyShardedDataParallel). Prune it before it is "
            "wrapped, or load its full state dict into a plain module first."
        )
    unmade = [n for n, p in module.named_parameters() if is_lazy(p)]
    if unmade:
        raise IsopruneError(
            f"{unmade[0]} is of a lazy module, which has no shape before its first forward. Run the network "
            "once on example inputs, then prune it."
        )
    return module
