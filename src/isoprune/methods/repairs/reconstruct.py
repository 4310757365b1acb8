"""Least squares: give back what the dense network's layers made, from the inputs that are left."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add

import torch
from torch import Generator, Tensor, nn

from isoprune.graph.cloning import copied
from isoprune.linalg.rectified import rectified_fit
from isoprune.linalg.ridge import STRENGTHS, WIDE, Fit, Moments, ridge
from isoprune.methods.layers.fitted_layers import FittedLayer, fitted_layers, together
from isoprune.methods.layers.norms import follow_
from isoprune.pruning.pruned import Pruned
from isoprune.signals.signals import Signals
from isoprune.types.method import method
from isoprune.types.units import GRAINS

_FOLDS = 4
_log = logging.getLogger(__name__)


@method("repair", "data", "dense", "plan", grains=GRAINS, source="He et al., 2017")
@torch.no_grad()
def reconstruct(
    pruned: Pruned,
    signals: Signals,
    *,
    generator: Generator,
    samples: int = 2048,
    places: int = 16,
    give: float = 0.02,
    rectified: int = 0,
    memory: int = 2 * 2**30,
) -> nn.Module:
    r"""Return a copy whose layers make, as well as they can, what the dense network's layers made.

    Layer by layer, in the order in which they run: x is what the layer reads now (with the layers before it
    repaired), y what the dense network's layer made of the same sample in the channels that are left, and

    .. math:: \min_{W, b} \tfrac1N \sum_n |y_n - W x_n - b|^2 + \lambda a \|W - W_{kept}\|_F^2

    with a the mean eigenvalue of the inputs' covariance and :math:`\lambda` by cross-validation over samples:
    a pull toward the kept weights, so that with few samples little changes. No labels are read. The last
    bit of fit is not worth having: it takes long weights, which make the loss sharp, and a sharp network
    diverges at learning rates that the dense one was trained with. ``give`` is what is given up for that.

    - Groups of a convolution are fitted each on its own; a mask is kept, row by row.
    - Where a BatchNorm follows, it takes over b, and its statistics become those of the new outputs, in eval
      mode as in train mode the same function. That leaves the length of W free: it stays what it was, since
      under BatchNorm the effective learning rate goes with :math:`1 / \|W\|^2`.
    - Where the output (or the BatchNorm's) goes into a sum, y is what the sum lacks: the dense network's sum
      less the other operand as it is now. So errors of the blocks before do not add up (He et al., 2017).
    - A layer that is tied to an embedding stays as it is: what all others read would change with it. So does
      one whose weight something else computes (a parametrization), and the log says so.
    - An attention's projections are layers like others. Queries are wanted with the factor that makes up for
      narrower heads. One whose forward is not torch's own keeps its weights, and the log says so.
    - A transposed convolution reads zeros between its inputs, as many as its stride asks for, by its flipped
      filters: at each place a few of their taps.

    ``isoprune.methods.repairs.reconstruct`` logs each layer's held-out error and time at level INFO.

    Args:
        samples: How many inputs, each once.
        places: Positions of an output map (or of a sequence) that are looked at, drawn for each sample.
        give: Part of the held-out gain that may be lost by a stronger pull, in [0, 1].
        rectified: Rounds in which a layer that only a ReLU reads is fitted to what passes it: see
            `rectified_fit`. Without masks, and where what the layer reads fits into ``memory``.
        memory: Bound in bytes on the dense network's outputs at those places, and on what is kept of the
            layers that are finished (a quarter of it at most).

    Cost: a forward of the dense network, and per layer one from where outputs are kept to it, and
    `_FOLDS` + 1 eigendecompositions of [fan_in, fan_in] (at most [samples x places, samples x places]).
    Memory: a copy of the network; what the dense layers make at ``places`` of ``samples``, up to ``memory``
    bytes; of one layer `_FOLDS` + 1 times [fan_in, fan_in + filters] in float64.

    Raises:
        IsopruneError: Without data; if dense network and plan do not belong to the pruned
            network; beyond memory.

    Sources: He, Zhang & Sun, 2017 (channel pruning by reconstruction); Luo, Wu & Lin, 2017 (ThiNet: sampled
    places).
    """
    chunks = list(signals.chunks(samples))
    repaired = copied(pruned.model)
    how = {"places": places, "generator": generator, "memory": memory, "log": _log}
    with fitted_layers(repaired, pruned, chunks, **how) as layers:
        for layer in layers:
            began = time.perf_counter()
            fits = _fit_groups(layer, give, rectified, memory)
            _write_(layer, fits)
            worst = max((f.left for f in fits if f.left is not None), default=float("nan"))
            name = layer.site.name
            _log.info("%s: %.3g of the variance left, %.1f s", name, worst, time.perf_counter() - began)
    return repaired


def _fit_groups(layer: FittedLayer, give: float, rectified: int, memory: int) -> list[Fit]:
    """Return the fit of every group."""
    rows = sum(where.numel() for key, where in layer.goals.where.items() if key[0] == layer.site.name)
    W0 = layer.weight.matrices
    if layer.weight.mask is None and W0.shape[2] > rows:
        return [_wide(layer, g, W0[g], give) for g in range(len(W0))]
    # Wide layers are judged by one part alone (see `ridge`), so the others are one.
    parts = 2 if layer.weight.mask is None and W0.shape[2] > WIDE else _FOLDS
    aware = rectified and layer.site.relu and layer.weight.mask is None
    seen = list(layer.data()) if aware and 4 * rows * W0.shape[0] * sum(W0.shape[1:]) < memory else None
    moments = layer.moments(seen or layer.data(), folds=_FOLDS, parts=parts)
    fits = layer.fit_groups(moments, give=give)
    if seen is None:
        return fits
    return [_rectified(layer, seen, g, moments[g], fit, rectified) for g, fit in enumerate(fits)]


def _rectified(
    layer: FittedLayer,
    seen: Sequence[tuple[Tensor, Tensor]],
    g: int,
    folds: Sequence[Moments],
    fit: Fit,
    rounds: int,
) -> Fit:
    data = [(X[:, :, g].flatten(0, 1), Y[:, :, g].flatten(0, 1)) for X, Y in seen]
    outputs = slice(g * len(fit.b), (g + 1) * len(fit.b))
    ones = torch.ones_like(fit.b)
    scale, shift = (ones, 0 * ones) if layer.affine is None else (
        layer.affine.scale[outputs], layer.affine.shift[outputs]
    )  # fmt: skip
    how = {"scale": scale, "shift": shift, "intercept": layer.intercept, "rounds": rounds}
    return rectified_fit(data, reduce(add, folds), layer.weight.matrices[g], fit, **how)


def _wide(layer: FittedLayer, g: int, W0: Tensor, give: float) -> Fit:
    """Fit in the span of the samples, all that they can change, where it is the smaller space."""
    data = [(X[:, :, g].flatten(0, 1), Y[:, :, g].flatten(0, 1)) for X, Y in layer.data()]
    X, Y = (torch.cat(parts) for parts in zip(*data, strict=True))
    Q = torch.linalg.qr(X.mT)[0]
    Z = X @ Q
    # The mean eigenvalue is over the span's dimensions here, not over the inputs'.
    strengths = [s * Q.shape[1] / Q.shape[0] for s in STRENGTHS]
    start = W0.double() @ Q.double()  # of W, what the samples see
    folds = [Moments.of(Z[k::_FOLDS], Y[k::_FOLDS]) for k in range(_FOLDS)]
    fit = ridge([f for f in folds if f.n], start, intercept=layer.intercept, strengths=strengths, give=give)
    return replace(fit, W=W0.double() + (fit.W - start) @ Q.double().mT)


def _write_(layer: FittedLayer, fits: Sequence[Fit]) -> None:
    """Put the fits into the layer and the BatchNorm behind it."""
    bias = layer.weight.bias
    W, b, mean, variance = together(fits)
    length, norm = 1.0, layer.norm
    if layer.affine is not None and norm is not None:
        length = float(layer.weight.matrices.double().norm() / W.norm().clamp_min(1e-300))
        length = length or 1.0  # a layer that was dead has no length to keep
        follow_(norm, layer.affine, b, mean, variance, length)
        if bias is not None:  # the norm's mean takes it out again
            layer.weight.write_bias_(torch.zeros_like(bias))
    elif bias is not None:
        layer.weight.write_bias_(b)
    layer.weight.write_((length * W).to(layer.weight.matrices.dtype))


_ROUNDS = 10


@method("repair", "data", "dense", "plan", grains=GRAINS, source="He et al., 2017")
def refit(
    pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = 2048, places: int = 16
) -> nn.Module:
    """Return what `reconstruct` makes where nothing is given up for a later retraining (``give = 0``).

    Layers that only a ReLU reads are fitted to what passes it.

    It ends `isoprune.prune` with ``criterion="reconstruction"``, whose choice is made for it.

    Args:
        samples: How many inputs are looked at.
        places: Positions of an output map (or of a sequence), drawn for each sample.

    Cost: that of `reconstruct`. Memory: that of `reconstruct`.
    """
    how = {"samples": samples, "places": places, "give": 0.0, "rectified": _ROUNDS}
    return reconstruct(pruned, signals, generator=generator, **how)
