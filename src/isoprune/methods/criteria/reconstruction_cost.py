"""What the criterion `reconstruction` and its refit would take of a network, counted on one sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from isoprune.methods.criteria.reconstruction import STAGES
from isoprune.methods.layers.output_errors import ROWS, moment_bytes
from isoprune.methods.layers.staged_search import number_of_stages
from isoprune.methods.layers.weights import Weight, weights
from isoprune.signals.matrices import LAYERS
from isoprune.signals.modes import in_eval_mode
from isoprune.signals.work import multiply_adds

_PLACES = 16  # the default of `reconstruction`
_SOLVES = 25  # of [fan_in, fan_in]: five eigendecompositions of about five products


@dataclass(frozen=True)
class ReconstructionCost:
    """Upper bounds, and what is compared with them.

    Attributes:
        multiply_adds: Of the choice and the refit.
        moments: Gigabytes of what all layers read and make; the criterion holds those of a stage.
        outputs: Gigabytes of what the dense network's layers make of the samples, for the refit.
        forward: Multiply-adds of one sample's forward.
    """

    multiply_adds: float
    moments: float
    outputs: float
    forward: float


@torch.no_grad()
def reconstruction_cost(model: nn.Module, sample: Tensor, samples: int) -> ReconstructionCost:
    """Return what choosing by ``samples`` inputs takes, counted with ``sample`` [1, ...] and not timed.

    Raises:
        IsopruneError: If a weight is parametrised otherwise than by a mask.
    """
    layers = [w for w in weights(model) if isinstance(w.module, LAYERS)]
    places: dict[str, int] = {}
    with in_eval_mode(model), _watched(layers, places):
        forward = multiply_adds(lambda: model(sample), least=sum(w.parameter.numel() for w in layers))
    work = moments = outputs = 0.0
    for layer in layers:
        blocks, filters, fan_in = layer.matrices.shape
        each = min(places.get(layer.name, 1), max(_PLACES, -(-ROWS * fan_in // samples)))
        rows = each * samples
        work += blocks * (2 * rows * (fan_in**2 + filters**2) + _SOLVES * fan_in**2 * min(fan_in, rows))
        moments += 1e-9 * moment_bytes(layer)
        outputs += 8e-9 * samples * min(each, _PLACES) * blocks * filters  # and the sum that it goes into
    stages = number_of_stages(min(STAGES, len(layers)), forward * samples)
    # A stage is a forward and a backward; the refit a forward of the dense network, and one up to each layer.
    work += samples * forward * (3 * stages + 1 + len(layers) / 2)
    return ReconstructionCost(work, moments, outputs, forward)


@contextmanager
def _watched(layers: Iterable[Weight], places: dict[str, int]) -> Iterator[None]:
    """Note of each layer at how many places it makes its outputs."""

    def note(layer: Weight, _module: nn.Module, _args: object, out: Tensor) -> None:
        blocks, filters, _ = layer.matrices.shape
        places[layer.name] = max(1, out.numel() // (blocks * filters))

    with ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.module.register_forward_hook(partial(note, layer)).remove)
        yield
