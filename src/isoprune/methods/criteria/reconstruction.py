"""What is missed least once the layers that read it are refit: a choice that brings its repair."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import torch
from torch import Generator, Tensor

from isoprune.graph.outputs import tensors_of
from isoprune.linalg.elimination import Elimination, Reader, eliminate
from isoprune.methods.criteria.l2_norm import l2_norm
from isoprune.methods.criteria.output_errors import ErrorSums, watched_sums
from isoprune.methods.criteria.readers import ReadingLayer, multiply_adds, reading_layers
from isoprune.methods.repairs.attention import taken_apart
from isoprune.methods.repairs.stored import copied
from isoprune.signals import Signals
from isoprune.types import Scores, Units
from isoprune.types.method import method
from isoprune.types.task import samples_in

_ORDER = 1e-10  # of the greatest score: what is added from one unit to the next
_AT_ONCE = 2**20  # numbers of the inputs that go through the network together: their graph is kept
_WORK = 3e12
_WIDE = 1024
_FLOOR = 1e-6  # of the mean weight of outputs: the least that one has
_log = logging.getLogger(__name__)


@method(
    "criterion",
    "data",
    "gradients",
    grains=("channel", "head"),
    updates_weights=True,
    repair="refit",
    source="Hassibi & Stork, 1993; Luo, Wu & Lin, 2017",
)
def reconstruction(
    signals: Signals,
    units: Sequence[Units],
    *,
    generator: Generator,
    keep: Mapping[str, int] | None = None,
    samples: int = 2048,
    places: int = 16,
    stages: int | None = None,
    ridge: float = 1e-6,
    swaps: int | None = None,
) -> Scores:
    r"""Elimination: one after the other that unit goes that is missed least once its readers are refit.

    A layer reads x and makes W x. Without the inputs S its best other weights change its outputs by

    .. math:: \mathrm{tr}\, F\, W_S \left([G^{-1}]_{SS}\right)^{-1} W_S^\top, \qquad G = E[x x^\top]

    (the loss of optimal brain surgery, for all outputs of a layer at once), which is added up over all layers
    that read the unit: what a residual sum feeds, each head or group on its own. F is the Fisher matrix of
    what the layer makes, so errors count by what they do to the network's outputs; no label is read. G and F
    are gathered in float64, and the inverse of G is kept by exact downdates.

    Without ``keep`` a score is the rise of the error (in nats, for a classification) when that unit goes
    after all that are missed less, made convex: ``allocation="error"`` lets layers compete by it.
    With ``keep``, which `isoprune.prune` gives, groups are chosen from the last one back, each by the slopes
    of the network whose end has been pruned and refit, and swaps follow; scores then are ranks. The choice is
    made for layers that are refit: `isoprune.prune` ends with `refit`, and without that
    it is worse than the smallest weights.

    Units that only products read (queries and keys), or layers that cannot be refit (recurrent ones), are
    scored by the norm of their weights; the log names them.

    Args:
        keep: How many of which units are to stay.
        samples: How many inputs are looked at.
        places: Positions of an output map (or of a sequence) that are looked at, drawn for each sample; more
            where there would be less than four rows for each input of a layer.
        stages: Passes over the data at most: so many parts of the network are chosen one after the other.
            None: 16, or fewer where their forwards would take more than 3e12 multiply-adds in all.
        ridge: Added to G, relative to its mean eigenvalue.
        swaps: At most so many a group; None: as many as units stay, and none where a reader has more than
            1,024 inputs.

    Cost: a forward and a backward of the samples a stage; per group and reader, for each unit that goes, a
    product of [fan_in, fan_in] with the unit's inputs.

    Sources: Hassibi & Stork, 1993 (refit of what is left); Luo, Wu & Lin, 2017 (ThiNet: choice by the
    reader's error).
    """
    example = next(signals.chunks(1))
    numbers = sum(t.numel() for t in tensors_of(example))
    chunks = list(signals.chunks(samples, chunk=max(1, min(64, _AT_ONCE // max(numbers, 1)))))
    network = copied(signals.network)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    scores: dict[str, Tensor] = {}
    with taken_apart(network) as parts:
        layers = reading_layers(network, parts, units, example)
        last = {
            u.name: max((i for i, x in enumerate(layers) if u.name in x.inputs), default=-1) for u in units
        }
        order = sorted((u for u in units if last[u.name] >= 0), key=lambda u: -last[u.name])
        if keep is not None:
            order = [u for u in order if keep.get(u.name, u.size) < u.size]
        end = _End({x.name: torch.ones_like(next(iter(x.inputs.values())), dtype=torch.bool) for x in layers})
        work = multiply_adds(network, example) * sum(map(samples_in, chunks))
        most = stages or max(1, min(16, int(_WORK // max(work, 1))))
        for group in _parts(order, 1 if keep is None else most):
            mine = [x for x in layers if any(u.name in x.inputs for u in group)]
            look = partial(watched_sums, most=places, generator=generator)
            sums = look(network, mine, end.offsets, chunks, signals.task)
            for u in group:
                read = [x for x in mine if u.name in x.inputs]
                if keep is None:  # an order of going, which swaps would tear
                    found = end.eliminate_(u, read, sums, 1, ridge=ridge, swaps=0, refit=False)
                    scores[u.name] = _rises(found)
                else:
                    found = end.eliminate_(u, read, sums, keep[u.name], ridge=ridge, swaps=swaps, refit=True)
                    scores[u.name] = _ranks(found)
    for u in units:
        if u.name not in scores:
            if last[u.name] < 0:
                _log.info("%s: no layer that can be refit reads it; scored by its weights", u.name)
            scores |= l2_norm(signals, [u], generator=generator)
    return scores


@dataclass
class _End:
    """What was pruned and refit so far: which inputs of layers are left, and what is added to outputs."""

    left: dict[str, Tensor]  # [blocks, fan_in]
    offsets: dict[str, Tensor] = field(default_factory=dict)

    def eliminate_(
        self,
        units: Units,
        layers: Sequence[ReadingLayer],
        sums: Mapping[str, ErrorSums],
        keep: int,
        *,
        ridge: float,
        swaps: int | None,
        refit: bool,
    ) -> Elimination:
        """Choose which units stay; with ``refit``, put the refit into the layers."""
        readers: list[Reader] = []
        for layer in layers:
            one = sums[layer.name]
            moments = one.moments(layer.intercept)[1]
            for b, W in enumerate(layer.weight.matrices.double().cpu()):
                left = self.left[layer.name][b]
                G = moments[b][left][:, left]
                weighted = _root(one.gg[b] / max(one.samples, 1)) @ W[:, left]
                mean = float(G.diagonal().mean()) or 1.0
                G = G + ridge * mean * torch.eye(len(G), dtype=G.dtype)
                readers.append(Reader(G, weighted, layer.inputs[units.name][b][left]))
        if swaps is None and any(len(r.G) > _WIDE for r in readers):
            swaps = 0
        found = eliminate(readers, units.size, keep, swaps=swaps)
        if refit:
            self._refit_(units, layers, readers, sums, found.kept)
        return found

    def _refit_(
        self,
        units: Units,
        layers: Sequence[ReadingLayer],
        readers: Sequence[Reader],
        sums: Mapping[str, ErrorSums],
        kept: Tensor,
    ) -> None:
        remaining = iter(readers)
        for layer in layers:
            mean = sums[layer.name].moments(layer.intercept)[0]
            old = layer.weight.matrices
            new, left = old.double().cpu().clone(), self.left[layer.name]
            for b, W in enumerate(new):
                reader, columns = next(remaining), left[b].clone()
                W[:, columns] = W[:, columns] @ reader.G @ reader.H
                unit = layer.inputs[units.name][b]
                left[b] &= (unit < 0) | kept[unit.clamp_min(0)]
                W[:, ~left[b]] = 0
            if layer.intercept:
                moved = torch.einsum("bfi,bi->bf", old.double().cpu() - new, mean).flatten()
                self.offsets[layer.name] = self.offsets.get(layer.name, 0) + moved
            layer.weight.write_(new.to(old))


def _root(F: Tensor) -> Tensor:
    """Return R with R^T R = F, whose least eigenvalue is a small part of their mean."""
    values, V = torch.linalg.eigh(F)
    mean = float(values.clamp_min(0).mean()) or 1.0
    return values.clamp_min(_FLOOR * mean).sqrt()[:, None] * V.mT


def _rises(found: Elimination) -> Tensor:
    """Return the slopes of the lower convex hull of the error over how many went, in the order of going."""
    last = [float(found.loss[u]) for u in found.kept.nonzero().flatten().tolist()]
    errors = [0.0, *found.errors]
    pools: list[tuple[float, int]] = []  # mean rise, and of how many units
    for rise in [*(b - a for a, b in pairwise(errors)), *last]:
        pools.append((rise, 1))
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            (b, m), (a, n) = pools.pop(), pools.pop()
            pools.append(((a * n + b * m) / (n + m), n + m))
    slopes = torch.tensor([rise for rise, number in pools for _ in range(number)], dtype=torch.float64)
    # Within a pool the order is still that of going.
    slopes += _ORDER * slopes.max() * torch.arange(1, len(slopes) + 1)
    scores = torch.empty_like(slopes)
    scores[torch.tensor([*found.order, *found.kept.nonzero().flatten().tolist()])] = slopes
    return scores


def _ranks(found: Elimination) -> Tensor:
    """Return ranks from 1: first what went, what is missed least first, then what is kept."""
    value = torch.where(found.kept, found.loss, found.gain)
    order = sorted(range(len(value)), key=lambda i: (bool(found.kept[i]), float(value[i])))
    ranks = torch.empty(len(value), dtype=torch.float64)
    ranks[torch.tensor(order)] = torch.arange(1, len(value) + 1, dtype=torch.float64)
    return ranks


def _parts(order: Sequence[Units], stages: int) -> list[Sequence[Units]]:
    size = max(1, -(-len(order) // stages))
    return [order[i : i + size] for i in range(0, len(order), size)]
