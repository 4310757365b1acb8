"""Magnitude relative to what is larger in the layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from isoprune.pruning.unit_scores import score_units
from isoprune.signals import Signals
from isoprune.types import Scores, Units
from isoprune.types.method import method
from isoprune.types.units import GRAINS


@method(
    "criterion",
    grains=GRAINS,
    comparable=True,
    label="LAMP",
    source="Lee, Park, Mo, Ahn & Shin, ICLR 2021, arXiv 2010.07611",
)
def lamp(signals: Signals, units: Sequence[Units], *, generator: Generator) -> Scores:
    r"""Square of a weight over those of all that are not smaller: :math:`w_i^2 / \sum_{|v| \geq |w_i|} v^2`.

    The sum is over the layer. Within a layer the order is that of magnitude; between layers, with
    ``allocation="global"``, it is by the part of a layer's square that would be lost of what is left, so
    every layer keeps its largest weight longest (its score is 1). Of equals each counts those after it. For
    units of several weights the square is their sum; of channels that several layers make, the mean over
    those.

    Memory: the squares of the weights; a sorted copy of those of one tensor in float64.
    """
    squares = score_units(signals.weights, units, lambda total, _: total, each=torch.square)
    return {name: _relative(s.double().flatten()).reshape(s.shape) for name, s in squares.items()}


def _relative(squares: Tensor) -> Tensor:
    order = squares.argsort(descending=True, stable=True)
    sums = squares[order].cumsum(0)
    return torch.zeros_like(squares).index_copy_(0, order, squares[order] / sums.clamp_min(1e-300))
