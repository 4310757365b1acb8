"""What each unit contributes to the outputs of the layers that read it, and how contributions overlap."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from isoprune.methods.layers.attention import taken_apart
from isoprune.methods.layers.output_errors import OF_GRADIENTS, require_memory, watched_sums
from isoprune.methods.layers.readers import ReadingLayer, reading_layers
from isoprune.methods.layers.working_copy import working_copy
from isoprune.signals import Signals
from isoprune.types import Units

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contributions:
    r"""Of the units of one name: how much they make of what their readers make.

    Unit i contributes :math:`z_i = W_{\cdot i} x_i` to a reader's output, summed over its inputs.

    Attributes:
        overlaps: By reader, the mean over rows of :math:`z_i^\top z_j`, [units, units], float64.
    """

    overlaps: dict[str, Tensor]

    @property
    def total(self) -> Tensor:
        return torch.stack(list(self.overlaps.values())).sum(0)


def contributions(
    signals: Signals,
    units: Sequence[Units],
    *,
    samples: int,
    places: int,
    generator: Generator,
    gigabytes: float,
) -> dict[str, Contributions]:
    """Return the contributions of units, by their names; those that no layer reads are left out and logged.

    Args:
        samples, places: How many inputs are looked at, and positions of a map in each: see `watched_sums`.
        gigabytes: What the moments of what layers read may take.

    Raises:
        IsopruneError: Before anything is computed, if the moments take more than that.
    """
    network, example, chunks = working_copy(signals, samples)
    with taken_apart(network) as parts:
        layers = reading_layers(network, parts, units, example)
        require_memory({layer.name: [layer] for layer in layers}, gigabytes, OF_GRADIENTS)
        sums = watched_sums(
            network, layers, {}, chunks, signals.task, most=places, generator=generator, slopes=False
        )
        found = {}
        for u in units:
            read = [layer for layer in layers if u.name in layer.inputs]
            overlaps = {x.name: _overlaps(x, u, sums[x.name].moments(False)[1]) for x in read}
            if overlaps:
                found[u.name] = Contributions(overlaps)
            else:
                _log.info("%s: no layer that multiplies by weights reads it; scored by its weights", u.name)
    return found


def _overlaps(layer: ReadingLayer, units: Units, moments: Tensor) -> Tensor:
    W = layer.weight.matrices.double().cpu()
    total = torch.zeros(units.size, units.size, dtype=torch.float64)
    for block, unit in enumerate(layer.inputs[units.name]):
        mine = (unit >= 0).nonzero().flatten()
        each = (W[block].mT @ W[block] * moments[block])[mine][:, mine]
        rows = torch.zeros(units.size, len(mine), dtype=torch.float64).index_add(0, unit[mine], each)
        total.index_add_(1, unit[mine], rows)
    return total
