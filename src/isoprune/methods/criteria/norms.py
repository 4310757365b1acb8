"""L1 and L2 norms of the weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator

from isoprune.pruning.unit_scores import score_units
from isoprune.signals import Signals
from isoprune.types import Scores, Units
from isoprune.types.method import method
from isoprune.types.units import DEPTH, GRAINS


@method(
    "criterion",
    grains=(*GRAINS, DEPTH),
    label="L1",
    source="Han, Pool, Tran & Dally, NeurIPS 2015; Li, Kadav, Durdanovic, Samet & Graf, ICLR 2017",
)
def l1_norm(signals: Signals, units: Sequence[Units], *, generator: Generator) -> Scores:
    r"""Mean absolute weight of each unit: :math:`s_i = \frac{1}{n_i} \sum_{j \in i} |w_j|`.

    Channels that several layers make (residual sums) get the mean over those layers. Mean instead of sum as
    in the paper's code, which orders the filters of a layer alike; of single weights it is the magnitude.

    Memory: the absolute values of one tensor, and a number a unit.
    """
    return score_units(signals.magnitudes, units, lambda total, number: total / number, each=torch.abs)


@method(
    "criterion",
    grains=(*GRAINS, DEPTH),
    label="L2",
    source="Han, Pool, Tran & Dally, NeurIPS 2015, arXiv 1506.02626",
)
def l2_norm(signals: Signals, units: Sequence[Units], *, generator: Generator) -> Scores:
    r"""Root mean square weight of each unit: :math:`s_i = \sqrt{\frac{1}{n_i} \sum_{j \in i} w_j^2}`.

    Channels that several layers make (residual sums) get the mean over those layers.

    Memory: the squares of one tensor, and a number a unit.
    """
    return score_units(signals.magnitudes, units, lambda total, n: (total / n).sqrt(), each=torch.square)
