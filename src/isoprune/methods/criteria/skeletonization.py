"""Relevance: the slope of the loss in a gate on each unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor

from isoprune.pruning.unit_scores import score_units, unit_sums
from isoprune.signals import Signals
from isoprune.types import Member, Scores, Units
from isoprune.types.method import method
from isoprune.types.units import GRAINS


@method(
    "criterion",
    "data",
    "labels",
    "gradients",
    grains=GRAINS,
    comparable=True,
    label="Skeletonization",
    source="Mozer & Smolensky, NIPS 1988",
)
def skeletonization(signals: Signals, units: Sequence[Units], *, generator: Generator) -> Scores:
    r"""Rise of the loss without a unit, to first order: :math:`s_i = -\partial L / \partial \alpha_i`.

    :math:`\alpha_i` is a gate on what the unit makes, where it is read: :math:`\alpha_i = 1` is the network
    as it is, 0 that without the unit. So :math:`s_i = -\sum_{j \in i} w_j g_j` over the weights that read
    unit i, with g the gradient of the mean loss over all the data. Units of single tensors, and channels
    that only products read, have the gate on their own weights. Scores below zero are of units
    without which the loss falls: they go first. (`taylor` takes the size of the slope instead.)

    Cost: a backward pass of all the data. Memory: a gradient of the weights.
    """
    values = {name: -s for name, s in signals.sensitivities.items()}
    scores = score_units(values, units, lambda total, _: total)
    for u in units:
        if read := [m for m in u.members if m.role == "in" and m.tensor in values]:
            scores[u.name] = _where_read(read, values, u)
    return scores


def _where_read(members: Sequence[Member], values: Mapping[str, Tensor], units: Units) -> Tensor:
    sums = [unit_sums(values[m.tensor], m.channels, units.size)[0].cpu() for m in members]
    return torch.stack(sums).sum(0).reshape(units.shape)
