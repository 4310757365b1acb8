"""Distance of each filter from the others of its layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor

from isoprune.pruning.unit_scores import makers
from isoprune.signals import Signals
from isoprune.types import Scores, Units
from isoprune.types.method import method


@method(
    "criterion",
    grains=("channel", "head", "filter"),
    label="Geometric median",
    source="He, Liu, Wang, Hu & Yang, CVPR 2019, arXiv 1811.00250",
)
def geometric_median(signals: Signals, units: Sequence[Units], *, generator: Generator) -> Scores:
    r"""Sum of distances to all filters of the layer: :math:`s_i = \sum_j \|w_i - w_j\|_2`.

    The least is next to the geometric median of the layer's filters, so others can stand in for it, however
    large it is: "FPGM". Channels that several layers make get the mean over those layers.

    Cost: a distance of every pair of filters. Memory: [filters, filters] in float64.
    """
    return {u.name: _of_units(u, signals.weights) for u in units}


def _of_units(units: Units, weights: Mapping[str, Tensor]) -> Tensor:
    total, layers = torch.zeros(2, units.size, dtype=torch.float64)
    for member in makers(units, weights):
        weight = weights[member.tensor]
        unit = member.channels.to(weight.device).expand(weight.shape).flatten()
        there = unit[unit >= 0].unique()
        rows = _rows(weight.detach().double().flatten(), unit, units.size)[there]
        total[there.cpu()] += torch.cdist(rows, rows).sum(1).cpu()
        layers[there.cpu()] += 1
    return (total / layers.clamp_min(1)).reshape(units.shape)


def _rows(values: Tensor, unit: Tensor, size: int) -> Tensor:
    """Return the values of every unit as a row, in their order; shorter rows end with zeros."""
    order = unit.argsort(stable=True)
    order = order[unit[order] >= 0]
    numbers = torch.bincount(unit[order], minlength=size)
    first = numbers.cumsum(0) - numbers
    place = torch.arange(len(order), device=unit.device) - first[unit[order]]
    rows = values.new_zeros(size, int(numbers.max()))
    rows[unit[order], place] = values[order]
    return rows
