"""Model Folding: filters are clustered, and each that stays becomes the mean of a cluster."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import normalize

from isoprune.methods.layers.substitution import Substitution
from isoprune.pruning.pruned import Pruned
from isoprune.signals.signals import Signals
from isoprune.types.method import method


@method("repair", "dense", "plan", source="Model Folding, ICLR 2025")
def folding(
    pruned: Pruned,
    signals: Signals,
    *,
    generator: Generator,
    variance: Literal["expected", "kept"] = "expected",
) -> nn.Module:
    r"""Return a copy in which each filter that stays is the mean of a cluster of the dense network's filters.

    The clusters are those of k-means from the filters that stay, over filters with their biases, a BatchNorm
    multiplied in. Biases and BatchNorms are averaged too, and what read the members of a cluster reads its
    mean in their place. The mean of N filters of correlation c varies :math:`(1 + (N - 1) c) / N` times as
    much: with ``variance="expected"`` a BatchNorm's running variance is multiplied by it, c from the filters'
    cosines. From data instead: ``["folding", "batchnorm"]`` with ``variance="kept"``. Grouped readers
    stay as pruned.

    It starts from the dense network: do it right after pruning. No data is read.

    Cost: one forward, and k-means of each group's filters. Memory: a copy of each network; of one group
    [units, kept] and its filters, in float64.
    """
    work = Substitution(pruned)
    for units, kept in work.losing():
        made = work.made(units)
        rows = torch.cat([made.filters, made.shifts], 1)
        member = _clusters(rows, kept)
        work.replace_(units, kept, member, member.mT / member.sum(0)[:, None])
        if variance == "expected":
            work.scale_running_variance_(units, kept, _shrinkage(made.filters, member))
    return work.result()


def _clusters(rows: Tensor, kept: Tensor) -> Tensor:
    """Return which cluster each row is of, [n, kept] of zeros and ones: k-means from the rows ``kept``."""
    from sklearn.cluster import KMeans  # a second to import, and this repair alone needs it

    start = rows[kept]
    means = KMeans(len(start), init=start.cpu().numpy(), n_init=1)  # pyright: ignore[reportArgumentType]
    labels = torch.from_numpy(means.fit_predict(rows.cpu().numpy())).long()
    own = kept.nonzero().flatten()
    for empty in sorted(set(range(len(start))) - set(labels.tolist())):  # rows that are equal, or dead
        labels[own[empty]] = empty
    return torch.nn.functional.one_hot(labels, len(start)).double()


def _shrinkage(filters: Tensor, member: Tensor) -> Tensor:
    """Return by how much less each cluster's mean varies than its members do, [clusters]."""
    unit, number = normalize(filters, dim=1), member.sum(0)
    # The sum of all cosines in a cluster is the square of the sum of its unit vectors.
    total = (member.mT @ unit).square().sum(1)
    return (total / number**2).clamp_min(1e-3)
