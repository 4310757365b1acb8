"""OrthP: orthonormal filters from the kept weights, before retraining (Wang et al., 2021)."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping

import torch
from torch import Generator, Tensor, fx, nn
from torch.nn.utils import parametrize, prune

from isoprune.linalg import filter_matrix, qr_factor
from isoprune.types import Batches, IsopruneError, Plan

# By name, so that NewGELUActivation, QuickGELU and torch.relu_ count too. These pass about half the power of
# a zero-mean signal, which the published gain sqrt(2) makes up for.
_RELU_LIKE = re.compile(r"elu|silu|mish|swish|softplus", re.IGNORECASE)
_FORWARD = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def orthp(
    pruned: nn.Module,
    *,
    dense: nn.Module | None,
    plan: Plan | None,
    batches: Batches | None,
    generator: Generator,
    gain: int | float | None = None,
    classifier_gain: int | float | None = None,
) -> nn.Module:
    r"""Return a copy whose Linear and convolution weights have orthonormal filters, times ``gain``.

    Each filter matrix W becomes ``gain * qr_factor(W)``, the classifier's too; biases and BatchNorm stay. A
    linear network then has every Jacobian singular value equal to the product of the gains.

    Against the published code: a dead filter comes back alive (there sign(0) = 0 erases it), convolutions in
    groups are factored group by group (filters of different groups read different channels, so are
    orthogonal already), and transposed convolutions take part. Rows orthonormal as a matrix are *not* an
    orthogonal
    convolution: where kernels overlap the operator's singular values still spread.

    Args:
        gain: Factor on every layer. None: sqrt(2) if the network has a ReLU-like nonlinearity, else 1 (as
            published). The network's modules are looked at first, then its forward, traced.
        classifier_gain: Factor on the last Linear (the last convolution, if there is none) in order of
            registration, which no nonlinearity follows. None: ``gain``, as published; 1 keeps isometry.

    Raises:
        IsopruneError: If a weight is masked or parametrised (the repair would be undone), holds NaN or
            infinity, or ``gain`` is None and the forward cannot be traced.
    """
    for name, module in pruned.named_modules():
        _require_plain_weight(name, module)
    repaired = copy.deepcopy(pruned)
    factor = float(gain) if gain is not None else activation_gain(repaired)
    layers = {name: m for name, m in repaired.named_modules() if isinstance(m, _FORWARD + _TRANSPOSED)}
    last = _classifier(layers)
    done: set[int] = set()
    for name, layer in layers.items():
        if id(layer.weight) in done:  # tied weights are one matrix
            continue
        done.add(id(layer.weight))
        scale = float(classifier_gain) if name == last and classifier_gain is not None else factor
        try:
            orthonormal = _orthonormal_filters(layer)
        except IsopruneError as error:
            raise IsopruneError(f"{name}: {error}") from None
        with torch.no_grad():
            layer.weight.copy_(scale * orthonormal)
    return repaired


def activation_gain(model: nn.Module) -> float:
    """Return sqrt(2) if the network has a ReLU-like nonlinearity, as a module or in its forward; else 1.

    Raises:
        IsopruneError: If no module says so and the forward cannot be traced.
    """
    if any(_RELU_LIKE.search(type(m).__name__) for m in model.modules()):
        return math.sqrt(2)
    try:
        nodes = fx.symbolic_trace(model).graph.nodes
    except Exception as error:  # tracing runs the user's forward, which may raise anything
        raise IsopruneError(
            f"Cannot tell whether {type(model).__name__} has a ReLU-like nonlinearity: no module is one and "
            f"its forward cannot be traced ({type(error).__name__}). Pass gain = 1.4142 if it has, gain = 1 "
            "if not."
        ) from error
    called = (n.target if n.op == "call_method" else getattr(n.target, "__name__", "") for n in nodes)
    return math.sqrt(2) if any(_RELU_LIKE.search(str(name)) for name in called) else 1.0


def _orthonormal_filters(layer: nn.Module) -> Tensor:
    weight: Tensor = layer.weight  # pyright: ignore[reportAssignmentType]
    groups = getattr(layer, "groups", 1)
    blocks = []
    for block in weight.detach().chunk(groups):
        # A transposed convolution stores [in, out / groups, ...]: its filters are the second dimension.
        flip = isinstance(layer, _TRANSPOSED)
        stored = block.transpose(0, 1) if flip else block
        new = qr_factor(filter_matrix(stored)).reshape(stored.shape)
        blocks.append(new.transpose(0, 1) if flip else new)
    return torch.cat(blocks)


def _classifier(layers: Mapping[str, nn.Module]) -> str | None:
    linear = [name for name, m in layers.items() if isinstance(m, nn.Linear)]
    return (linear or list(layers) or [None])[-1]


def _require_plain_weight(name: str, layer: nn.Module) -> None:
    if not isinstance(layer, _FORWARD + _TRANSPOSED):
        return
    if prune.is_pruned(layer) or parametrize.is_parametrized(layer):
        raise IsopruneError(
            f"{name}: the weight is masked or parametrised, so orthonormal filters would not survive the "
            "next forward. Make it plain first: torch.nn.utils.prune.remove, or "
            "parametrize.remove_parametrizations."
        )
