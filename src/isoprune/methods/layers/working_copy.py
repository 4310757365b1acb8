"""A copy of a network for watching its layers' inputs and outputs, and the inputs to run it on."""

from __future__ import annotations

from typing import Any

from torch import nn

from isoprune.graph.cloning import copied
from isoprune.graph.outputs import tensors_of
from isoprune.signals import Signals

_AT_ONCE = 2**20  # numbers of the inputs that go through the network together: their graph may be kept


def working_copy(signals: Signals, samples: int) -> tuple[nn.Module, Any, list[Any]]:
    """Return a copy of the network that no gradient trains, one input, and ``samples`` inputs in chunks."""
    example = next(signals.chunks(1))
    numbers = sum(t.numel() for t in tensors_of(example))
    chunks = list(signals.chunks(samples, chunk=max(1, min(64, _AT_ONCE // max(numbers, 1)))))
    network = copied(signals.network)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network, example, chunks
