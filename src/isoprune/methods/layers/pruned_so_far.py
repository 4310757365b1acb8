"""Units that go group after group, while the layers that read them are refit: what was pruned so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from isoprune.linalg.elimination import Elimination, Reader, eliminate
from isoprune.methods.layers.output_errors import OF_GRADIENTS, ErrorSums, require_fits
from isoprune.methods.layers.readers import ReadingLayer
from isoprune.types import Units

_ORDER = 1e-10  # of the greatest score: what is added from one unit to the next
_WIDE = 1024
_WORK = 3e12
_FLOOR = 1e-6  # of the mean weight of outputs: the least that one has


@dataclass
class PrunedSoFar:
    """What was pruned and refit so far: which inputs of layers are left, and what is added to outputs.

    ``fisher``: whether errors of outputs count by the Fisher matrix; else all count alike.
    """

    left: dict[str, Tensor]  # [blocks, fan_in]
    fisher: bool
    ridge: float
    offsets: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def nothing(cls, layers: Sequence[ReadingLayer], *, fisher: bool, ridge: float) -> PrunedSoFar:
        """Return the start: all inputs are there."""
        every = {x.name: torch.ones_like(next(iter(x.inputs.values())), dtype=torch.bool) for x in layers}
        return cls(every, fisher, ridge)

    def eliminate_(
        self,
        units: Units,
        layers: Sequence[ReadingLayer],
        sums: Mapping[str, ErrorSums],
        keep: int,
        *,
        swaps: int | None,
        refit: bool,
    ) -> Elimination:
        """Choose which units stay; with ``refit``, put the refit into the layers that read them."""
        readers = self._readers(units, layers, sums)
        if swaps is None and any(len(r.G) > _WIDE for r in readers):
            swaps = 0
        found = eliminate(readers, units.size, keep, swaps=swaps)
        if refit:
            self._refit_(units, layers, readers, sums, found.kept)
        return found

    def keep_(
        self, units: Units, layers: Sequence[ReadingLayer], sums: Mapping[str, ErrorSums], kept: Tensor
    ) -> None:
        """Let the units ``kept`` alone stay, and put the refit into the layers that read them."""
        readers = self._readers(units, layers, sums)
        for reader in readers:
            reader.keep_(kept)
        self._refit_(units, layers, readers, sums, kept)

    def _readers(
        self, units: Units, layers: Sequence[ReadingLayer], sums: Mapping[str, ErrorSums]
    ) -> list[Reader]:
        readers: list[Reader] = []
        for layer in layers:
            one = sums[layer.name]
            moments = one.moments(layer.intercept)[1]
            for b, W in enumerate(layer.weight.matrices.double().cpu()):
                left = self.left[layer.name][b]
                G, A = moments[b][left][:, left], W[:, left]
                if self.fisher:
                    A = _root(one.gg[b] / max(one.samples, 1)) @ A
                mean = float(G.diagonal().mean()) or 1.0
                G = G + self.ridge * mean * torch.eye(len(G), dtype=G.dtype)
                readers.append(Reader(G, A, layer.inputs[units.name][b][left]))
        return readers

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


def hull_slopes(found: Elimination) -> Tensor:
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


def ranks(found: Elimination) -> Tensor:
    """Return ranks from 1: first what went, what is missed least first, then what is kept."""
    value = torch.where(found.kept, found.loss, found.gain)
    order = sorted(range(len(value)), key=lambda i: (bool(found.kept[i]), float(value[i])))
    ranks = torch.empty(len(value), dtype=torch.float64)
    ranks[torch.tensor(order)] = torch.arange(1, len(value) + 1, dtype=torch.float64)
    return ranks


def stages_of(
    order: Sequence[Units], stages: int | None, work: float, *, most: int | None = None
) -> list[Sequence[Units]]:
    """Return consecutive parts of about equal length, ``stages`` of them at most.

    None: ``most``, or fewer where a stage takes so much ``work`` that all together took more than 3e12
    multiply-adds.
    """
    stages = stages or number_of_stages(most or len(order), work)
    size = max(1, -(-len(order) // stages))
    return [order[i : i + size] for i in range(0, len(order), size)]


def number_of_stages(most: int, work: float) -> int:
    """Return how many passes of so much ``work`` each there are, ``most`` at most."""
    return max(1, min(most, int(_WORK // max(work, 1))))


def with_readers(
    stages: Sequence[Sequence[Units]], layers: Sequence[ReadingLayer], gigabytes: float
) -> list[tuple[Sequence[Units], list[ReadingLayer]]]:
    """Return the units of each stage and the layers that read them.

    Raises:
        IsopruneError: If the moments of those of one stage take more than ``gigabytes``.
    """
    found = [(group, [x for x in layers if any(u.name in x.inputs for u in group)]) for group in stages]
    for _, mine in found:
        require_fits({x.name: [x] for x in mine}, gigabytes, OF_GRADIENTS)
    return found
