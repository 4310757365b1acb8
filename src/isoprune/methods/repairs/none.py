"""No repair: the pruned network as it is."""

from __future__ import annotations

from torch import Generator, nn

from isoprune.graph.cloning import copied
from isoprune.pruning.pruned import Pruned
from isoprune.signals.signals import Signals
from isoprune.types.method import method
from isoprune.types.units import DEPTH, GRAINS


@method("repair", grains=(*GRAINS, DEPTH), label="no repair")
def none(pruned: Pruned, signals: Signals, *, generator: Generator) -> nn.Module:
    """Return a copy of the pruned network: the baseline that every repair is measured against.

    Cost: a copy. Memory: a copy of the network.
    """
    return copied(pruned.model)
