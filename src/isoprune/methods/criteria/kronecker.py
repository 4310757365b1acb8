"""Scores by Kronecker factors of the Fisher matrix, and the update that belongs to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor

from isoprune.linalg.kronecker import row_rises, without
from isoprune.methods.criteria.layer_moments import LayerMoments, layer_moments
from isoprune.methods.criteria.own_labels import with_own_labels
from isoprune.methods.criteria.unit_scores import gone_with_readers, made_and_read, makers, unit_sums
from isoprune.signals import Signals
from isoprune.types import Units, UpdatingScores

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
