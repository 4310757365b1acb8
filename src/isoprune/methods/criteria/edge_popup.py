"""edge-popup: scores that are trained, of weights that are not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from isoprune.pruning.allocation import check_ratio, removed_of
from isoprune.pruning.unit_scores import makers
from isoprune.signals import Signals
from isoprune.signals.products import finite_or_raise
from isoprune.signals.samples import cut, joined, pieces
from isoprune.signals.work import WORK, gradient_work, require_work, samples_in_memory
from isoprune.types import IsopruneError, Member, Scores, Units
from isoprune.types.method import method
from isoprune.types.units import GRAINS


@method(
    "criterion",
    "data",
    "labels",
    "gradients",
    grains=GRAINS,
    follows_order=False,
    label="edge-popup (trains)",
    source="Ramanujan, Wortsman, Kembhavi, Farhadi & Rastegari, CVPR 2020, arXiv 1911.13299",
)
def edge_popup(
    signals: Signals,
    units: Sequence[Units],
    *,
    generator: Generator,
    ratio: float = 0.5,
    train_samples: int = 20_000,
    batch: int = 128,
    lr: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    work: float = WORK,
    gigabytes: float = 4.0,
) -> Scores:
    r"""Popularity: :math:`|s_i|` after training s while only the weights with the largest :math:`|s_i|` work.

    Of the units of each tensor (or group of channels) those with the largest scores work, all but a part
    ``ratio``; the others are zero. Weights stay as they are. Through the step the gradient goes as if it were
    not there, :math:`\partial L / \partial |s_i| = \sum_{j \in i} w_j\, \partial L / \partial (m w)_j`, so a
    unit that does not work can come in. SGD with a cosine, from scores drawn uniformly from
    :math:`\pm 1 / \sqrt{\text{fan-in}}`. Channels are gated where they are read. The network is read in eval
    mode, where the paper lets BatchNorm normalise by the batch.

    Args:
        ratio: What goes while scores train: that of the paper's masks if it is the one asked of `prune`.
        train_samples: How many samples the training sees, over as many passes of the data as that takes, in
            their order. They count as training in any comparison of budgets. 0: the drawn scores.
        batch: Samples a step.
        lr, momentum, weight_decay: Of SGD on the scores.
        work: Multiply-adds that the training may take; more is refused before it starts.
        gigabytes: What the graph of the loss may take; a batch with a larger one is taken in parts.

    Cost: ``train_samples`` times a forward and a backward. Memory: the graph of a batch, within
    ``gigabytes``.

    Raises:
        IsopruneError: If ``ratio`` is outside [0, 1) or a number of samples is negative; if the loss is not
            finite; if it takes more multiply-adds than ``work``, or the graph of one sample more than
            ``gigabytes``.
    """
    check_ratio(ratio)
    if train_samples < 0 or batch < 1:
        raise IsopruneError(f"train_samples is {train_samples}, batch {batch}: give at least 0, at least 1.")
    if train_samples:
        _require_work(signals, train_samples, work)
    fit = samples_in_memory(signals, gigabytes) if train_samples else 1
    scores = {u.name: _drawn(u, signals, generator).requires_grad_() for u in units}
    if not scores:
        return {}
    optimizer = torch.optim.SGD(scores.values(), lr=lr, momentum=momentum, weight_decay=weight_decay)
    steps = math.ceil(train_samples / batch)
    for step, part in enumerate(_batches(signals, batch, train_samples)):
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.zero_grad()
        number = signals.task.samples(part)
        for piece in pieces(part, fit, number=number):
            loss = signals.loss(piece, gated(signals, units, scores, ratio))
            finite_or_raise(loss.detach())
            (loss * (signals.task.samples(piece) / number)).backward(inputs=list(scores.values()))
        optimizer.step()
    return {name: s.detach().abs().cpu() for name, s in scores.items()}


def _require_work(signals: Signals, train_samples: int, work: float) -> None:
    each = gradient_work(signals)
    fit = int(work // each)
    remedy = f"Lower train_samples (at {fit:,} it is {fit * each:.0e})"
    require_work(f"A training of {train_samples:,} samples takes", train_samples * each, work, remedy)


def gated(
    signals: Signals, units: Sequence[Units], scores: Mapping[str, Tensor], ratio: float
) -> dict[str, Tensor]:
    """Return the weights of which the units with the highest scores work; slopes go to all scores."""
    weights = dict(signals.weights)
    for u in units:
        size = scores[u.name].abs().flatten()
        stay = size.topk(u.size - removed_of(u.size, ratio)).indices
        works = torch.zeros_like(size).index_fill_(0, stay, 1)
        gate = works + (size - size.detach())  # in this order, so that it is 1 and 0 exactly
        for member in _members(u, weights):
            weight = weights[member.tensor]
            if member.unit is None:
                weights[member.tensor] = weight * gate.view(weight.shape)
                continue
            unit = member.unit.to(weight.device)
            weights[member.tensor] = weight * torch.where(unit >= 0, gate[unit.clamp_min(0)], 1.0)
    return weights


def _members(units: Units, weights: Mapping[str, Tensor]) -> list[Member]:
    read = [m for m in units.members if m.role == "in" and m.tensor in weights]
    return read or makers(units, weights)


def _drawn(units: Units, signals: Signals, generator: Generator) -> Tensor:
    weight = signals.weights[_members(units, signals.weights)[0].tensor]
    bound = (weight.shape[0] / weight.numel()) ** 0.5
    drawn = torch.rand(units.shape, generator=generator, dtype=torch.float64)
    return ((2 * drawn - 1) * bound).to(weight)


def _batches(signals: Signals, size: int, samples: int) -> Iterator[Any]:
    """Yield batches of ``size``, the last one smaller, of so many samples: the data over and over."""
    pending: list[Any] = []
    number = 0
    while samples > 0:
        for found in signals.data():
            pending.append(found)
            number += signals.task.samples(found)
            while samples > 0 and number >= (take := min(size, samples)):
                whole = joined(pending) if len(pending) > 1 else pending[0]
                yield cut(whole, 0, take, number=number)
                samples, rest = samples - take, number - take
                pending = [cut(whole, take, number, number=number)] if rest else []
                number = rest
            if samples <= 0:
                return
