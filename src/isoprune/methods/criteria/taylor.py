"""First-order Taylor expansion of the loss."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Generator

from isoprune.pruning.unit_scores import score_units
from isoprune.signals import Signals
from isoprune.types import Scores, Units
from isoprune.types.method import method
from isoprune.types.units import DEPTH, GRAINS


@method(
    "criterion",
    "data",
    "labels",
    "gradients",
    grains=(*GRAINS, DEPTH),
    label="Taylor",
    source="Molchanov, Mallya, Tyree, Frosio & Kautz, CVPR 2019",
)
def taylor(signals: Signals, units: Sequence[Units], *, generator: Generator) -> Scores:
    r"""First-order change of the loss without each unit: :math:`s_i = |\sum_{j \in i} w_j g_j|`.

    g is the gradient of the mean loss over all the data. Channels that several layers make get the mean over
    those layers. In the paper it is squared, which orders a layer alike.

    Cost: a backward pass of all the data. Memory: a gradient of the weights.
    """
    return score_units(signals.sensitivities, units, lambda total, _: total.abs())
