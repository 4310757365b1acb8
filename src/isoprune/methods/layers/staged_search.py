"""A search for units that may go: group after group, on the network as pruned and refit so far."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn

from isoprune.linalg.elimination import Elimination
from isoprune.methods.layers.attention import taken_apart
from isoprune.methods.layers.output_errors import OF_GRADIENTS, ErrorSums, require_memory, watched_sums
from isoprune.methods.layers.pruned_so_far import PrunedSoFar
from isoprune.methods.layers.readers import ReadingLayer, reading_layers
from isoprune.methods.layers.working_copy import working_copy
from isoprune.signals import Signals
from isoprune.signals.work import forward_work
from isoprune.types import Units
from isoprune.types.task import samples_in

_ORDER = 1e-10  # of the greatest score: what is added from one unit to the next
_WORK = 3e12
_log = logging.getLogger(__name__)

# What is done with one group of units: the layers that read it and their sums, on the network so far.
Visit = Callable[[PrunedSoFar, Units, Sequence[ReadingLayer], Mapping[str, ErrorSums]], None]


@dataclass(frozen=True, kw_only=True)
class StagedSearch:
    """How units are searched for that may go.

    Attributes:
        samples, places: How many inputs are looked at, and positions of a map in each: see `watched_sums`.
        stages: Passes over the data at most; groups of one pass are chosen on the same network. None:
            ``most``, or fewer where their forwards would take more than 3e12 multiply-adds in all.
        most: None: one a group.
        ridge: Added to the moments of what is read, relative to their mean eigenvalue.
        gigabytes: What the moments of the layers of one stage may take.
        from_end: Whether the group that is read last is the first.
        fisher: Whether errors of outputs count by the Fisher matrix; else all count alike.
        intercepts: Whether biases and BatchNorms take up what a refit moves on average.
    """

    samples: int
    places: int
    stages: int | None
    most: int | None = None
    ridge: float
    gigabytes: float
    from_end: bool
    fisher: bool
    intercepts: bool

    def scores(
        self,
        signals: Signals,
        units: Sequence[Units],
        keep: Mapping[str, int] | None,
        *,
        swaps: int | None,
        generator: Generator,
    ) -> dict[str, Tensor]:
        """Return scores of the units that layers read which can be refit, by their names; others are logged.

        With ``keep`` they are ranks, of units of which some are to go; without, the rises of the error in the
        order of going, made convex, on the network as it is.

        Raises:
            IsopruneError: If moments take more than they may, before any is made.
        """
        scores: dict[str, Tensor] = {}

        def choose(
            so_far: PrunedSoFar, u: Units, read: Sequence[ReadingLayer], sums: Mapping[str, ErrorSums]
        ) -> None:
            if keep is None:  # an order of going, which swaps would tear
                elimination = so_far.eliminate_(u, read, sums, 1, swaps=0, refit=False)
                scores[u.name] = _hull_slopes(elimination)
            else:
                elimination = so_far.eliminate_(u, read, sums, keep[u.name], swaps=swaps, refit=True)
                scores[u.name] = _ranks(elimination)

        going = [u for u in units if keep is None or keep.get(u.name, u.size) < u.size]
        stages = 1 if keep is None else self.stages
        replace(self, stages=stages).visit(signals, units, going, choose, generator=generator)
        for u in going:
            if u.name not in scores:
                _log.info("%s: no layer that can be refit reads it; scored by its weights", u.name)
        return scores

    def refit(
        self, signals: Signals, units: Sequence[Units], kept: Mapping[str, Tensor], *, generator: Generator
    ) -> nn.Module:
        """Return a copy of the network in which units read what ``kept`` leaves of them, and are refit."""

        def keep(
            so_far: PrunedSoFar, u: Units, read: Sequence[ReadingLayer], sums: Mapping[str, ErrorSums]
        ) -> None:
            so_far.keep_(u, read, sums, kept[u.name])

        going = [u for u in units if not bool(kept[u.name].all())]
        return self.visit(signals, units, going, keep, generator=generator)

    def visit(
        self,
        signals: Signals,
        units: Sequence[Units],
        going: Sequence[Units],
        visit: Visit,
        *,
        generator: Generator,
    ) -> nn.Module:
        """Visit units in the order in which they are read, and return the copy as it is then."""
        network, example, chunks = working_copy(signals, self.samples)
        with taken_apart(network) as parts:
            layers = reading_layers(network, parts, units, example)
            if not self.intercepts:
                layers = [replace(layer, intercept=False) for layer in layers]
            so_far = PrunedSoFar.nothing(layers, fisher=self.fisher, ridge=self.ridge)
            work = forward_work(signals) * sum(map(samples_in, chunks))
            order = self._order(going, layers)
            stages = self.stages or number_of_stages(self.most or len(order), work)
            for group, mine in _with_readers(_stages_of(order, stages), layers, self.gigabytes):
                sums = watched_sums(
                    network,
                    mine,
                    so_far.offsets,
                    chunks,
                    signals.task,
                    most=self.places,
                    generator=generator,
                    slopes=self.fisher,
                )
                for u in group:
                    visit(so_far, u, [x for x in mine if u.name in x.inputs], sums)
        return network

    def _order(self, units: Sequence[Units], layers: Sequence[ReadingLayer]) -> list[Units]:
        """Return those that are read: by the layer that reads them first, or from the end by the last one."""
        run = enumerate(layers) if self.from_end else reversed(list(enumerate(layers)))
        at = {name: -i if self.from_end else i for i, layer in run for name in layer.inputs}
        return sorted((u for u in units if u.name in at), key=lambda u: at[u.name])


def _hull_slopes(elimination: Elimination) -> Tensor:
    """Return the slopes of the lower convex hull of the error over how many went, in the order of going."""
    last = [float(elimination.loss[u]) for u in elimination.kept.nonzero().flatten().tolist()]
    errors = [0.0, *elimination.errors]
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
    scores[torch.tensor([*elimination.order, *elimination.kept.nonzero().flatten().tolist()])] = slopes
    return scores


def _ranks(elimination: Elimination) -> Tensor:
    """Return ranks from 1: first what went, what is missed least first, then what is kept."""
    value = torch.where(elimination.kept, elimination.loss, elimination.gain)
    order = sorted(range(len(value)), key=lambda i: (bool(elimination.kept[i]), float(value[i])))
    ranks = torch.empty(len(value), dtype=torch.float64)
    ranks[torch.tensor(order)] = torch.arange(1, len(value) + 1, dtype=torch.float64)
    return ranks


def _stages_of(order: Sequence[Units], stages: int) -> list[Sequence[Units]]:
    """Return consecutive parts of about equal length, ``stages`` of them at most."""
    size = max(1, -(-len(order) // stages))
    return [order[i : i + size] for i in range(0, len(order), size)]


def number_of_stages(most: int, work: float) -> int:
    """Return how many passes of so much ``work`` each there are, ``most`` at most."""
    return max(1, min(most, int(_WORK // max(work, 1))))


def _with_readers(
    stages: Sequence[Sequence[Units]], layers: Sequence[ReadingLayer], gigabytes: float
) -> list[tuple[Sequence[Units], list[ReadingLayer]]]:
    """Return the units of each stage and the layers that read them.

    Raises:
        IsopruneError: If the moments of those of one stage take more than ``gigabytes``.
    """
    stages_with_readers = [
        (group, [x for x in layers if any(u.name in x.inputs for u in group)]) for group in stages
    ]
    for _, mine in stages_with_readers:
        require_memory({x.name: [x] for x in mine}, gigabytes, OF_GRADIENTS)
    return stages_with_readers
