"""How many directions the features of a network use."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from isoprune.methods.measures.features import features
from isoprune.pruning.pruned import Pruned
from isoprune.signals import Signals
from isoprune.types.method import method

_ROWS = 4096  # of a layer's features that are looked at


@method("measure", "data", source="Roy & Vetterli, EUSIPCO 2007")
def effective_rank(
    pruned: Pruned, signals: Signals, *, generator: Generator, samples: int = 256
) -> dict[str, float]:
    r"""Effective rank of what layers read: :math:`\exp(-\sum_i p_i \log p_i)`, :math:`p = s / \sum_i s_i`.

    s are the singular values of a layer's features, a row a sample (of a convolution: a place of one, evenly
    taken, some 4,096 in all), less their mean.

    - ``effective_rank``: of what the last layer reads, the penultimate features;
    - ``effective_rank_mean``: the mean over all Linear layers and convolutions but the first.

    Between 1 and the number of features; 0 where features do not depend on the sample.

    Cost: a forward of the samples, and a symmetric eigenvalue problem a layer, of at most 4,096 rows. Memory:
    what every layer reads of a batch; of each some 4,096 rows of features, and one kernel of at most that
    size in float64.

    Raises:
        IsopruneError: If there is no hidden layer.
    """
    rows: dict[str, list[Tensor]] = {}
    for found in features(signals.taking(samples)):
        for name, read in found.items():
            rows.setdefault(name, []).append(_some_places(read, max(_ROWS // samples, 1)))
    ranks = [rank_of(torch.cat(parts)) for parts in rows.values()]
    return {"effective_rank": ranks[-1], "effective_rank_mean": sum(ranks) / len(ranks)}


def rank_of(X: Float[Tensor, "rows features"]) -> float:
    """Return the effective rank of a matrix less the mean of its rows; 0 where nothing is left."""
    X = X.double()
    centred = X - X.mean(0)
    gram = centred @ centred.mT if len(X) < X.shape[1] else centred.mT @ centred
    squares = torch.linalg.eigvalsh(gram)
    # What rounding leaves of zero: in the mean, which was taken off, and in the eigenvalues.
    least = len(gram) * torch.finfo(torch.float64).eps * max(float(squares[-1]), float(X.square().sum()))
    s = squares[squares > least].sqrt()
    p = s / s.sum()
    return float(torch.exp(-(p * p.log()).sum())) if len(s) else 0.0


def _some_places(read: Tensor, most: int) -> Tensor:
    places = read.shape[1]
    if places > most:
        read = read[:, torch.linspace(0, places - 1, most).round().long()]
    return read.flatten(0, 1)
