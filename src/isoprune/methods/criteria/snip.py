"""Connection sensitivity."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator

from isoprune.pruning.unit_scores import score_units
from isoprune.signals import Signals
from isoprune.types import Scores, Units
from isoprune.types.method import method
from isoprune.types.units import GRAINS


@method(
    "criterion",
    "data",
    "labels",
    "gradients",
    grains=GRAINS,
    label="SNIP",
    source="Lee, Ajanthan & Torr, ICLR 2019",
)
def snip(signals: Signals, units: Sequence[Units], *, generator: Generator) -> Scores:
    r"""Slope of the loss in a mask on each weight: :math:`s_i = \sum_{j \in i} |\partial L / \partial m_j|`.

    At m = 1 that is :math:`|w_j g_j|`, with g the gradient of the mean loss over all the data. Of units that
    several tensors make, the mean over those.

    Cost: a backward pass of all the data. Memory: a gradient of the weights.
    """
    return score_units(signals.sensitivities, units, lambda total, _: total, each=torch.abs)
