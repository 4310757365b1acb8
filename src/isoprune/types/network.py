"""A network in any dress: a module, or what holds one, such as a `Pruned`."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import nn


@runtime_checkable
class HoldsModel(Protocol):
    """What carries a network beside other things that are known of it."""

    @property
    def model(self) -> nn.Module: ...


Network = nn.Module | HoldsModel


def module_of(network: Network) -> nn.Module:
    """Return the module itself. A module that has an attribute ``model`` of its own is itself."""
    return network if isinstance(network, nn.Module) else network.model
