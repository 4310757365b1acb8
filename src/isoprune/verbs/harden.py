"""Make masked tensors plain parameters."""

from __future__ import annotations

from dataclasses import replace

from isoprune.pruning import Pruned
from isoprune.pruning.mask import harden as plain_copy
from isoprune.types import Network, module_of


def harden(network: Network) -> Network:
    """Return the network with its masked tensors as plain parameters: zeros included, but no longer held."""
    plain = plain_copy(module_of(network))
    return replace(network, model=plain) if isinstance(network, Pruned) else plain
