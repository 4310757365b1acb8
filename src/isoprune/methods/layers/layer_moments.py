"""Second moments of what layers read, and of the slopes by what they make, for given weight tensors."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from isoprune.methods.layers.attention import taken_apart
from isoprune.methods.layers.output_errors import ErrorSums, require_memory, watched_sums
from isoprune.methods.layers.readers import ReadingLayer
from isoprune.methods.layers.weights import Weight, weights
from isoprune.methods.layers.working_copy import working_copy
from isoprune.signals import Signals
from isoprune.signals.matrices import LAYERS

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LayerMoments:
    r"""Of one weight, whose Fisher matrix is about :math:`G \otimes A`: Martens & Grosse, 2015.

    Attributes:
        weight: Arranges tensors as filter matrices, and back.
        matrices: The filter matrices [blocks, filters, fan_in], in float64.
        inputs: A, the mean of a a^T over samples and places, [blocks, fan_in, fan_in].
        outputs: G, the mean over samples of the sum over places of g g^T, [blocks, filters, filters].
    """

    weight: Weight
    matrices: Tensor
    inputs: Tensor
    outputs: Tensor


def layer_moments(
    signals: Signals,
    tensors: Collection[str],
    *,
    samples: int,
    places: int,
    generator: Generator,
    gigabytes: float,
    slopes: bool = True,
) -> dict[str, LayerMoments]:
    """Return the moments of the weights of Linear layers, convolutions and attentions among ``tensors``.

    Others, and layers that do not run, are left out; the log names them.

    Args:
        samples, places: How many samples are looked at, and places of a map in each: see `watched_sums`.
        gigabytes: What the moments may take.
        slopes: Whether G is needed.

    Raises:
        IsopruneError: Before anything is computed, if the moments take more than that.
    """
    network, _, chunks = working_copy(signals, samples)
    with taken_apart(network) as parts:
        found: dict[str, Weight] = {}
        layers: dict[str, list[ReadingLayer]] = {}
        for weight in weights(network):
            if weight.tensor not in tensors:
                continue
            mine = [
                ReadingLayer(name, Weight(name, part.projection), {}, False)
                for name, part in parts.items()
                if part.weight == weight.name
            ]
            if not mine and isinstance(weight.module, LAYERS):
                mine = [ReadingLayer(weight.name, weight, {}, False)]
            if mine:
                found[weight.tensor], layers[weight.tensor] = weight, mine
        require_memory(
            layers, gigabytes, "criterion 'obs' or 'woodfisher', whose memory grows with samples instead"
        )
        flat = [layer for several in layers.values() for layer in several]
        sums = watched_sums(
            network, flat, {}, chunks, signals.task, most=places, generator=generator, slopes=slopes
        )
        moments = {
            tensor: _of(found[tensor], [sums[layer.name] for layer in several])
            for tensor, several in layers.items()
            if all(sums[layer.name].rows for layer in several)
        }
    if missing := sorted(set(tensors) - moments.keys()):
        _log.info("No layer was seen that reads inputs with %s", ", ".join(missing))
    return moments


def _of(weight: Weight, sums: list[ErrorSums]) -> LayerMoments:
    inputs = torch.cat([one.xx / one.rows for one in sums])
    outputs = torch.cat([one.gg / max(one.samples, 1) for one in sums])
    return LayerMoments(weight, weight.matrices.double().cpu(), inputs, outputs)
