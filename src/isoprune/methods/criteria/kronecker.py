"""Scores by Kronecker factors of the Fisher matrix, and the update that belongs to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Generator, Tensor

from isoprune.linalg.kronecker import row_rises, without
from isoprune.methods.layers.layer_moments import LayerMoments, layer_moments
from isoprune.pruning.unit_scores import gone_with_readers, made_and_read, makers, unit_sums
from isoprune.signals import Signals
from isoprune.signals.own_labels import with_own_labels
from isoprune.types import Scores, Units, UpdatingScores
from isoprune.types.method import method
from isoprune.types.units import GRAINS

# Moments of a layer, the unit of every weight [blocks, filters, fan_in], number of units -> a sum a unit
Value = Callable[[LayerMoments, Tensor, int], Tensor]
_DIAGONAL = 64  # samples, for tensors without factors


def kronecker_scores(
    signals: Signals,
    units: Sequence[Units],
    value: Value,
    *,
    generator: Generator,
    samples: int,
    places: int,
    damping: float,
    gigabytes: float,
    steps: int = 30,
) -> UpdatingScores:
    """Return half of ``value`` of every unit, the mean over the tensors that make it, and the update.

    Labels are drawn by the network. Tensors without factors (tables, recurrent layers) are taken with the
    diagonal of their Fisher matrix, and get no update.
    """
    made = {u.name: makers(u, signals.weights) for u in units}
    tensors = {m.tensor for u in units for m in u.members if m.tensor in signals.weights}
    how = {"samples": samples, "places": places, "generator": generator, "gigabytes": gigabytes}
    found = layer_moments(signals, sorted(tensors), **how)
    moments = {name: _damped(one, damping) for name, one in found.items()}
    diagonal: dict[str, Tensor] = {}
    if any(m.tensor not in moments for members in made.values() for m in members):
        diagonal = with_own_labels(signals, min(samples, _DIAGONAL), generator).fisher_diagonal
    scores: dict[str, Tensor] = {}
    for u in units:
        total = torch.zeros(u.size, dtype=torch.float64)
        number = torch.zeros(u.size, dtype=torch.float64)
        for m in made[u.name]:
            w = signals.weights[m.tensor]
            of_each = torch.arange(w.numel()).reshape(w.shape) if m.unit is None else m.unit.expand(w.shape)
            if m.tensor in moments:
                one = moments[m.tensor]
                total += value(one, one.weight.arranged(of_each), u.size)
            else:
                total += unit_sums((w.square() * diagonal[m.tensor]).cpu(), of_each, u.size)[0]
            number += unit_sums(w.cpu(), of_each, u.size)[1] > 0
        scores[u.name] = (total / number.clamp_min(1) / 2).reshape(u.shape)

    read = made_and_read(units, signals.weights)

    def update(masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        known = {name: kept.cpu() for name, kept in masks.items() if name in moments}
        return {
            name: _made_up(moments[name], kept, gone_with_readers(kept, read.get(name, ())), steps)
            for name, kept in known.items()
        }

    return UpdatingScores(scores, update)


def of_rows(moments: LayerMoments, units: Tensor, size: int, *, others_move: bool) -> Tensor:
    """Return the rise by each unit, which is made of whole filters: see `row_rises`."""
    total = torch.zeros(size, dtype=torch.float64)
    for b, W in enumerate(moments.matrices):
        factors = moments.outputs[b], moments.inputs[b], W
        total += row_rises(*factors, units[b, :, 0], size, others_move=others_move)
    return total


def _damped(moments: LayerMoments, damping: float) -> LayerMoments:
    r"""Return :math:`A + \pi \sqrt{\lambda} I` and :math:`G + \sqrt{\lambda} / \pi I`.

    As Martens & Grosse, 2015: :math:`\pi^2` is the quotient of their mean eigenvalues, so both move alike;
    1 where one of these is zero.
    """
    a, g = (t.diagonal(dim1=1, dim2=2).mean(1) for t in (moments.inputs, moments.outputs))
    share = torch.where((a > 0) & (g > 0), a / g, 1.0).sqrt()
    inputs, outputs = (
        t + (damping**0.5 * by)[:, None, None] * torch.eye(t.shape[1], dtype=t.dtype)
        for t, by in ((moments.inputs, share), (moments.outputs, 1 / share))
    )
    return replace(moments, inputs=inputs, outputs=outputs)


def _made_up(moments: LayerMoments, kept: Tensor, gone: Tensor, steps: int) -> Tensor:
    """Return the weight, zero outside of ``kept``; a weight that is zero already makes up for nothing.

    ``gone``: what nothing here makes up for.
    """
    stays = moments.weight.arranged(kept) & (moments.matrices != 0)
    W = torch.where(moments.weight.arranged(gone), 0.0, moments.matrices)
    parts = zip(moments.outputs, moments.inputs, W, stays, strict=True)
    return moments.weight.laid_back(torch.stack([without(*part, steps=steps) for part in parts]))


@method(
    "criterion",
    "data",
    "gradients",
    grains=("channel", "head", "filter"),
    comparable=True,
    label="Kron-OBD",
    source="Wang, Grosse, Fidler & Zhang, ICML 2019, arXiv 1905.05934",
)
def kron_obd(
    signals: Signals,
    units: Sequence[Units],
    *,
    generator: Generator,
    samples: int = 256,
    places: int = 64,
    damping: float = 1e-5,
    gigabytes: float = 4.0,
) -> Scores:
    r"""Rise of the loss without each unit's filters, all others as they are.

    :math:`\frac{1}{2} w_i^\top A w_i\, G_{ii}` of a filter, with the Fisher matrix of a layer taken as
    :math:`G \otimes A`: A of what its filters read, G of the slopes by what they make, under labels that
    the network draws itself. Of units of several filters of a layer S, :math:`\frac{1}{2} \mathrm{tr}\,
    W_S A W_S^\top G_{SS}`. Channels that several layers make get the mean over those. A tensor without
    factors (a table, a recurrent layer) is taken with the diagonal of its Fisher matrix.

    Args:
        samples, places: How many samples are looked at, and positions of a map or sequence in each.
        damping: Added to the Fisher matrix, by a part of its root in either factor.
        gigabytes: What the factors may take; more is refused before anything is computed.

    Cost: a forward and a backward of the samples; a product of each filter matrix with A. Memory: A and
    G, in float64.
    """
    how = {"samples": samples, "places": places, "damping": damping, "gigabytes": gigabytes}
    value = partial(of_rows, others_move=False)
    return kronecker_scores(signals, units, value, generator=generator, **how).scores


@method(
    "criterion",
    "data",
    "gradients",
    grains=("channel", "head", "filter"),
    updates_weights=True,
    comparable=True,
    label="Kron-OBS",
    source="Wang, Grosse, Fidler & Zhang, ICML 2019, arXiv 1905.05934",
)
def kron_obs(
    signals: Signals,
    units: Sequence[Units],
    *,
    generator: Generator,
    samples: int = 256,
    places: int = 64,
    damping: float = 1e-5,
    gigabytes: float = 4.0,
) -> UpdatingScores:
    r"""Rise of the loss without each unit's filters, the others moved.

    :math:`\frac{1}{2} w_i^\top A w_i / [G^{-1}]_{ii}` of a filter, with the Fisher matrix of a layer
    taken as :math:`G \otimes A`: A of what its filters read, G of the slopes by what they make, under
    labels that the network draws itself. Of units of several filters of a layer S, :math:`\frac{1}{2}
    \mathrm{tr}\, W_S A W_S^\top ([G^{-1}]_{SS})^{-1}`. The weights that stay become those with the least
    :math:`\mathrm{tr}\, D A D^\top G` where the others are zero, for all filters that go together (of one
    filter :math:`D = -G^{-1} e_i w_i^\top / [G^{-1}]_{ii}`); channels are made up for where they are read.
    Channels that several layers make get the mean over those. A tensor without factors (a table, a
    recurrent layer) is taken with the diagonal of its Fisher matrix, and gets no update.

    Args:
        samples, places: How many samples are looked at, and positions of a map or sequence in each.
        damping: Added to the Fisher matrix, by a part of its root in either factor.
        gigabytes: What the factors may take; more is refused before anything is computed.

    Cost: a forward and a backward of the samples; an inverse of G. Memory: A, G and its inverse, in
    float64.
    """
    how = {"samples": samples, "places": places, "damping": damping, "gigabytes": gigabytes}
    value = partial(of_rows, others_move=True)
    return kronecker_scores(signals, units, value, generator=generator, **how)


@method(
    "criterion",
    "data",
    "gradients",
    grains=GRAINS,
    updates_weights=True,
    comparable=True,
    label="C-OBS",
    source="Wang, Grosse, Fidler & Zhang, ICML 2019, arXiv 1905.05934",
)
def c_obs(
    signals: Signals,
    units: Sequence[Units],
    *,
    generator: Generator,
    samples: int = 256,
    places: int = 64,
    damping: float = 1e-5,
    steps: int = 30,
    gigabytes: float = 4.0,
) -> UpdatingScores:
    r"""Rise of the loss without each weight, the others moved, added up over each unit.

    :math:`\frac{1}{2} \sum w_{ij}^2 / ([G^{-1}]_{ii} [A^{-1}]_{jj})`, with the Fisher matrix of a layer
    taken as :math:`G \otimes A`: A of what its filters read, G of the slopes by what they make, under
    labels that the network draws itself. The weights that stay become those with the least
    :math:`\mathrm{tr}\, D A D^\top G` where the others are zero, for all that go together, in closed form
    where whole filters and inputs go and by conjugate gradients elsewhere (in the paper each is made up for
    by itself, :math:`-G^{-1} C A^{-1}` with :math:`C_{ij} = w_{ij} / ([G^{-1}]_{ii} [A^{-1}]_{jj})`).
    Channels are made up for where they are read; those that several layers make get the mean over these. A
    tensor without factors (a table, a recurrent layer) is taken with the diagonal of its Fisher matrix, and
    gets no update.

    Args:
        samples, places: How many samples are looked at, and positions of a map or sequence in each.
        damping: Added to the Fisher matrix, by a part of its root in either factor.
        steps: Of conjugate gradients, at most; each lowers that number.
        gigabytes: What the factors may take; more is refused before anything is computed.

    Cost: a forward and a backward of the samples; an inverse of each factor; a product of each filter
    matrix with both factors a step. Memory: A, G and their inverses, in float64.
    """
    how = {"samples": samples, "places": places, "damping": damping, "gigabytes": gigabytes}
    return kronecker_scores(signals, units, _value, generator=generator, steps=steps, **how)


def _value(moments: LayerMoments, units: Tensor, size: int) -> Tensor:
    a, g = (
        torch.cholesky_inverse(torch.linalg.cholesky(t)).diagonal(dim1=1, dim2=2)
        for t in (moments.inputs, moments.outputs)
    )
    return unit_sums(moments.matrices.square() / (g[:, :, None] * a[:, None, :]), units, size)[0]
