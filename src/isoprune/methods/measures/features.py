"""What the layers of a network read, in the order in which they run."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from isoprune.signals import Signals
from isoprune.signals.matrices import LAYERS
from isoprune.types import IsopruneError


def features(signals: Signals) -> Iterator[dict[str, Tensor]]:
    """Yield, batch by batch, what each Linear layer and convolution reads: [samples, places, features].

    The network's first layer is left out, which reads the inputs; of a layer that runs more than once, what
    it read last counts.

    Raises:
        IsopruneError: If no layer reads what another one made.
    """
    names = [name for name, m in signals.network.named_modules() if isinstance(m, LAYERS)]
    layers = dict(signals.network.named_modules())
    for runs in signals.activations(names):
        read = {name: _rows(layers[name], each[-1].read[0]) for name, each in runs.items() if each}
        if len(read) < 2:
            raise IsopruneError(
                "This measure looks at what layers make for the next ones, and the network has no hidden "
                "layer (Linear or convolution). Leave it out."
            )
        yield {name: read[name] for name in list(read)[1:]}


def _rows(layer: nn.Module, x: Tensor) -> Tensor:
    if isinstance(layer, nn.Linear):
        return x.flatten(1, -2) if x.dim() > 2 else x[:, None]
    return x.flatten(2).mT  # [samples, channels, places] in either case


def last_features(signals: Signals) -> Tensor:
    """Return what the last layer reads, averaged over places: [samples, features]."""
    return torch.cat([found[list(found)[-1]].mean(1) for found in features(signals)])
