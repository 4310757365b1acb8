"""Rescale: one factor a layer, so that signals and gradients pass as they did before pruning."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Generator, nn

from isoprune.graph.cloning import copied
from isoprune.isometry import jacobian_singular_values, layer_gains
from isoprune.methods.layers.passes import layers_with_output, scale_layers_
from isoprune.pruning.pruned import Pruned
from isoprune.signals.modes import in_eval_mode
from isoprune.signals.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.method import method
from isoprune.types.units import GRAINS


@method("repair", "data", "dense", grains=GRAINS)
def rescale(
    pruned: Pruned,
    signals: Signals,
    *,
    generator: Generator,
    to: Literal["gains", "jsv"] = "gains",
    biases: Literal["kept", "scaled"] = "kept",
    samples: int = 64,
    tolerance: int | float = 0.01,
    sweeps: int = 20,
) -> nn.Module:
    r"""Return a copy with each weight multiplied by a number, so that it passes on what it did when dense.

    ``to="gains"``: layer l gets the factor

    .. math:: s_l = \sqrt{\frac{f_l^{dense}}{f_l} \cdot \frac{b_l^{dense}}{b_l}}

    with f the norm of its output over that of its input and b the same of gradients, backward
    (`isometry.layer_gains`). All layers move at once, from gains measured in the network as it is by then, so
    that later layers see the scaled earlier ones, until every factor is within ``tolerance`` of one.

    ``to="jsv"``: one factor for all layers, so that the mean Jacobian singular value is the dense network's;
    by the secant method on logarithms, which is exact in one step where the network is homogeneous.

    Biases. Pruning weakens what a layer's weights make and leaves its bias, which was trained beside the
    stronger signal. "kept" scales the weights alone and so restores that proportion: the function changes,
    back toward the dense one. "scaled" multiplies a bias by what the rest of its layer's output has grown by:
    a network of ReLU, pooling and the like is positively homogeneous, so its function is multiplied by the
    product of the factors and not one prediction changes; what changes is training.

    Directions of filters are kept, and masks. A layer that a BatchNorm reads is scaled with its bias and the
    statistics of the BatchNorm, so the function stays; what changes there is the weights' effective learning
    rate, which goes with one over their squared norm. (``to="jsv"`` has no hold on such layers.) An attention
    is scaled by its output projection. A layer of gain zero stays as it is.

    Args:
        samples: How many inputs are looked at.
        tolerance: Relative; on every factor, or on the mean singular value.
        sweeps: Measurements at most.

    Cost: a measurement of `layer_gains` (or Jacobians) of the dense network, and one a sweep. Memory: a copy
    of the network; the graph of ``samples`` inputs (what the Jacobians of some of them take).

    Raises:
        IsopruneError: Without data; if the dense network has no such layers; for
            "jsv", if a mean singular value is zero or does not move with the scale.
    """
    inputs = signals.inputs(samples)
    repaired = copied(pruned.model)
    with in_eval_mode(pruned.dense, repaired):
        match = _match_gains_ if to == "gains" else _match_jsv_
        match(repaired, pruned.dense, inputs, biases == "scaled", float(tolerance), sweeps)
    return repaired


def _match_gains_(
    model: nn.Module, dense: nn.Module, inputs: Any, biases: bool, tolerance: float, sweeps: int
) -> None:
    names = {layer.name for layer in layers_with_output(model)}
    want = _gains(dense, inputs)
    unknown = sorted(names - {layer.name for layer in layers_with_output(dense)})
    if unknown:
        raise IsopruneError(
            f"The dense network has no layer {unknown[0]!r}: it is not the network that was pruned."
        )
    for _ in range(sweeps):
        have = _gains(model, inputs)
        factors = {
            name: math.sqrt(want[name] / have[name])
            for name in names & set(have)
            if want.get(name, 0) > 0 and have[name] > 0
        }
        if all(abs(math.log(factor)) <= tolerance for factor in factors.values()):
            return
        scale_layers_(model, inputs, factors, biases=biases)


def _gains(model: nn.Module, inputs: Any) -> dict[str, float]:
    """Return forward times backward gain of every layer's first run."""
    return {g.name: g.forward * g.backward for g in layer_gains(model, inputs) if "#" not in g.name}


def _match_jsv_(
    model: nn.Module, dense: nn.Module, inputs: Any, biases: bool, tolerance: float, sweeps: int
) -> None:
    layers = layers_with_output(model)
    goal, level = _log_mean_jsv(dense, inputs, "dense"), _log_mean_jsv(model, inputs, "the pruned network")
    slope = float(len(layers))  # that of a homogeneous network without BatchNorm
    for _ in range(sweeps):
        if abs(goal - level) <= tolerance:
            return
        step = max(min((goal - level) / slope, 2.0), -2.0)
        scale_layers_(model, inputs, {layer.name: math.exp(step) for layer in layers}, biases=biases)
        before, level = level, _log_mean_jsv(model, inputs, "the scaled network")
        slope = (level - before) / step
        if slope < 1e-3:
            raise IsopruneError(
                "The mean Jacobian singular value does not grow with the scale of the weights: BatchNorm, or "
                'another normalisation, undoes it. Take to = "gains".'
            )


def _log_mean_jsv(model: nn.Module, inputs: Any, who: str) -> float:
    mean = float(torch.as_tensor(jacobian_singular_values(model, inputs)).double().mean())
    if mean <= 0:
        raise IsopruneError(
            f"The Jacobian of {who} is zero on the data, so no scale makes it that of the other network. "
            "Prune less, or repair by reconstruct first."
        )
    return math.log(mean)
