"""What is left of a network."""

from __future__ import annotations

from torch import Generator

from isoprune.pruning.pruned import Pruned
from isoprune.signals import Signals
from isoprune.types.method import method


@method("measure")
def size(pruned: Pruned, signals: Signals, *, generator: Generator) -> dict[str, float]:
    """Fractions of the dense network's parameters and multiply-adds that are left.

    ``parameters_left`` and ``flops_left``, in (0, 1]. What a mask holds at zero is no parameter, but is
    multiplied all the same. A network of which nothing went has 1.

    Cost: none. Memory: none.
    """
    ratios = pruned.costs.ratios
    return {"parameters_left": 1 - ratios["parameters"], "flops_left": 1 - ratios["flops"]}
