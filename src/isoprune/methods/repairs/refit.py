"""Least squares to the last bit: for a network that is used as it is, or retrained only shortly."""

from __future__ import annotations

from torch import Generator, nn

from isoprune.methods.repairs.reconstruct import reconstruct
from isoprune.pruning.pruned import Pruned
from isoprune.signals.signals import Signals
from isoprune.types.method import method
from isoprune.types.units import GRAINS

_ROUNDS = 10


@method("repair", "data", "dense", "plan", grains=GRAINS, source="He et al., 2017")
def refit(
    pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = 2048, places: int = 16
) -> nn.Module:
    """Return what `reconstruct` makes where nothing is given up for a later retraining (``give = 0``).

    Layers that only a ReLU reads are fitted to what passes it.

    It ends `isoprune.prune` with ``criterion="reconstruction"``, whose choice is made for it.

    Args:
        samples: How many inputs are looked at.
        places: Positions of an output map (or of a sequence), drawn for each sample.

    Cost: that of `reconstruct`. Memory: that of `reconstruct`.
    """
    how = {"samples": samples, "places": places, "give": 0.0, "rectified": _ROUNDS}
    return reconstruct(pruned, signals, generator=generator, **how)
