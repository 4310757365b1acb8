"""Neuron Merging: a filter that went is read through the one that is most like it."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import normalize

from isoprune.methods.layers.substitution import MadeUnits, Substitution
from isoprune.pruning.pruned import Pruned
from isoprune.signals.signals import Signals
from isoprune.types.method import method


@method("repair", "dense", "plan", source="Kim, Kim, Park & Jeon, NeurIPS 2020")
def merging(
    pruned: Pruned, signals: Signals, *, generator: Generator, threshold: float = 0.45, blend: float = 0.85
) -> nn.Module:
    r"""Return a copy in which what read a filter n that went reads :math:`\|w_n\| / \|w_m\|` times filter m.

    m is the kept filter at the least angle; below a cosine of ``threshold`` nothing is read in place of n.
    Exact where n is a positive multiple of m and what lies between is positively homogeneous (ReLU, pooling).
    The bias is one more weight. Where a BatchNorm follows, its scale and shift are multiplied in, and m has
    the least ``blend`` times the angle's distance plus ``1 - blend`` times that of the shifts, each relative
    to the largest. Filters that several layers make are compared as one. Readers that are grouped stay as
    pruned.

    It starts from the dense network: do it right after pruning. No data is read.

    Cost: one forward, and a product of the filters of each group. Memory: a copy of each network; of one
    group [units, kept] and its filters, in float64.
    """
    work = Substitution(pruned)
    for units, kept in work.losing():
        work.replace_(units, kept, _most_alike(work.made(units), kept, threshold, blend))
    return work.result()


def _most_alike(made: MadeUnits, kept: Tensor, threshold: float, blend: float) -> Tensor:
    """Return what stands for each unit [n, kept]: itself, or the most alike in proportion, or nothing."""
    rows = made.filters if made.normed else torch.cat([made.filters, made.shifts], 1)
    length = rows.norm(dim=1)
    cosine = normalize(rows, dim=1) @ normalize(rows[kept], dim=1).mT
    ratio = length[:, None] / length[kept].clamp_min(1e-300)
    distance = 1 - cosine
    if made.normed:
        shifted = (made.shifts[:, None] - ratio[..., None] * made.shifts[kept]).norm(dim=2)
        distance = blend * _relative(distance) + (1 - blend) * _relative(shifted)
    best = distance.argmin(1, keepdim=True)
    alike = (cosine.gather(1, best) >= threshold) & (cosine.gather(1, best) > 0)
    read = torch.zeros_like(cosine).scatter(1, best, torch.where(alike, ratio.gather(1, best), 0.0))
    read[kept] = torch.eye(int(kept.sum()), dtype=read.dtype)
    return read


def _relative(distance: Tensor) -> Tensor:
    return distance / distance.amax(1, keepdim=True).clamp_min(1e-300)
