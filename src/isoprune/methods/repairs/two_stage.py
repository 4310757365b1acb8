"""Two-stage reconstruction: what goes is aggregated into what stays, then each layer is calibrated."""

from __future__ import annotations

import logging

import torch
from torch import Generator, nn

from isoprune.graph.cloning import copied
from isoprune.methods.layers.fitted_layers import FittedLayer, fitted_layers, together
from isoprune.methods.layers.norms import take_statistics_
from isoprune.methods.repairs.grail import grail
from isoprune.pruning.pruned import Pruned
from isoprune.signals.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.method import method
from isoprune.types.units import GRAINS

_log = logging.getLogger(__name__)


@method(
    "repair",
    "data",
    "dense",
    "plan",
    grains=GRAINS,
    source="Li et al., Expert Systems with Applications, 2026",
)
@torch.no_grad()
def two_stage(
    pruned: Pruned,
    signals: Signals,
    *,
    generator: Generator,
    samples: int = 2048,
    places: int = 16,
    strength: float = 1e-3,
    memory: int = 2 * 2**30,
) -> nn.Module:
    r"""Return a copy that is aggregated, then calibrated layer by layer on the error of all layers before.

    First stage, in the dense network: what read a unit that goes reads the mixture of those that stay which
    is nearest to it on the data, as in `grail`. Second stage, after removal, in the order in which layers
    run: x is what a layer reads now, so that the error of all layers before it is in x, y what the dense
    network's layer made in the channels that are left, :math:`W_1` the weights of the first stage, and

    .. math:: \min_{W, b} \tfrac1N \sum_n |y_n - W x_n - b|^2 + \lambda a \|W - W_1\|_F^2

    with a the mean eigenvalue of the covariance of x. b is the layer's bias, or goes with the mean of a
    BatchNorm behind it, whose statistics become those of what it reads then. Masks are kept, row by row.

    Of the paper this is the order of its two stages, what each is for, and that data without labels are
    enough. The formulas of both stages are not in the abstract that this was written from: they are ours, the
    plainest that fit it. Against `reconstruct`: one strength instead of a cross-validated one, y is the
    layer's own output also where it goes into a sum, and the pull is toward the aggregated weights.

    It starts from the dense network: do it right after pruning. Where units of another grain than channels
    went, nothing reads what is gone through others, and the second stage is all.

    Args:
        samples: How many inputs are looked at.
        places: Positions of an output map (or of a sequence) that the second stage looks at, drawn for each
            sample; the first looks at all.
        strength: :math:`\lambda`, and that of the first stage.
        memory: Bound in bytes on the dense network's outputs at those places.

    Cost: for each group and each layer a forward up to it, and a system of equations. Memory: a copy of each
    network; what the dense layers make at ``places`` of ``samples``, up to ``memory`` bytes; of one layer
    [fan_in, fan_in + filters] in float64; before that what `grail` holds.

    Raises:
        IsopruneError: Without data; if ``strength`` is below 0; if dense network and plan do not belong to
            the pruned network; beyond memory.
    """
    if not strength >= 0:
        raise IsopruneError(f"strength is {strength!r}. Give 0, which pulls nothing back, or more.")
    if not pruned.plan:
        return copied(pruned.model)
    repaired = grail(pruned, signals, generator=generator, samples=samples, strength=strength)
    chunks = list(signals.chunks(samples))
    how = {"places": places, "generator": generator, "memory": memory, "log": _log}
    with fitted_layers(repaired, pruned, chunks, **how) as layers:
        for layer in layers:
            _calibrate_(layer, strength)
    return repaired


def _calibrate_(layer: FittedLayer, strength: float) -> None:
    """Fit a layer to what the dense network's made; the BatchNorm behind it takes on what it reads then."""
    fits = layer.fit_groups(layer.moments(layer.data(sums=False)), strengths=[strength])
    W, b, mean, variance = together(fits)
    layer.weight.write_(W.to(layer.weight.matrices.dtype))
    if layer.weight.bias is not None:
        layer.weight.write_bias_(b)
        mean = mean + b
    if layer.norm is not None:
        take_statistics_(layer.norm, mean, variance)
