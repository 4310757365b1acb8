"""The same mask, the kept weights in another order."""

from __future__ import annotations

import torch
from torch import Generator, nn

from isoprune.graph.cloning import copied
from isoprune.methods.layers.stored import write_
from isoprune.methods.layers.weights import weights
from isoprune.pruning.pruned import Pruned
from isoprune.signals.signals import Signals
from isoprune.types.method import method
from isoprune.types.units import GRAINS


@method(
    "check",
    grains=GRAINS,
    follows_order=False,
    label="weights shuffled in each layer",
    source="Su et al., NeurIPS 2020, arXiv 2009.11094",
)
def weight_shuffle(pruned: Pruned, signals: Signals | None = None, *, generator: Generator) -> nn.Module:
    """Return the network with the weights that stay of every tensor in a random order.

    What is masked stays so; biases and norms keep their values. A method that is level with it has kept how
    the weights of a layer are spread, and no weight in its place.

    Cost: a draw of every weight that stays. Memory: a copy of the network, and of one tensor.
    """
    model = copied(pruned.model)
    for weight in weights(model):
        value, kept = weight.parameter.detach().clone(), weight.mask
        places = torch.ones_like(value, dtype=torch.bool) if kept is None else kept
        found = value[places]
        value[places] = found[torch.randperm(len(found), generator=generator).to(found.device)]
        write_(weight.module, weight.key, value)
    return model
