"""Scores and weight updates of optimal brain surgery, by the gradients of single samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from isoprune.linalg.low_rank import rises, without
from isoprune.pruning.unit_scores import gone_with_readers, made_and_read, makers, unit_sums
from isoprune.signals import Signals
from isoprune.types import IsopruneError, Units, UpdatingScores

_GIGA = 1e9


@dataclass(frozen=True)
class Outer:
    """The curvature of every weight tensor: lambda I plus the outer products of gradients, in blocks.

    Attributes:
        signals: Whose sample gradients are taken.
        samples: How many of them.
        block: Neighbours in a tensor that one block of the curvature covers; None: the whole tensor.
        damping: Lambda.
        gigabytes: What gradients may take; where those of all tensors do not fit, they are gathered in
            several passes, for some tensors at a time.
    """

    signals: Signals
    samples: int
    block: int | None
    damping: float
    gigabytes: float

    def scores(self, units: Sequence[Units]) -> UpdatingScores:
        """Return :math:`w_Q^T ([F^{-1}]_{QQ})^{-1} w_Q` of every unit, and the update.

        Units that several tensors make get the mean over those.
        """
        weights = {name: w for name, w in self.signals.weights.items() if w.dim() > 1}
        mine: dict[str, list[tuple[Units, Tensor | None]]] = {}
        for u in units:
            for m in makers(u, self.signals.weights):
                unit = None if m.unit is None else m.unit.expand(self.signals.weights[m.tensor].shape)
                mine.setdefault(m.tensor, []).append((u, unit))
        total = {u.name: torch.zeros(u.size, dtype=torch.float64) for u in units}
        number = {u.name: torch.zeros(u.size, dtype=torch.float64) for u in units}
        read = {m.tensor for u in units for m in u.members if m.tensor in weights}
        for name, G in self._rows([*mine, *(read - mine.keys())]):
            w = self.signals.weights[name].flatten()
            for u, unit in mine.get(name, ()):
                found, there = self._rises(G, w, unit, u.size)
                total[u.name] += found.cpu()
                number[u.name] += (there > 0).cpu()
        scores = {u.name: (total[u.name] / number[u.name].clamp_min(1)).reshape(u.shape) for u in units}
        return UpdatingScores(scores, partial(self.update, made=made_and_read(units, weights)))

    def update(
        self, masks: Mapping[str, Tensor], *, made: Mapping[str, Sequence[Tensor]]
    ) -> dict[str, Tensor]:
        """Return the weights that make up for what the masks take away; nothing can in a diagonal.

        ``made``: see `made_and_read`.
        """
        names = [name for name in masks if name in self.signals.weights and masks[name].dim() > 1]
        new = {}
        for name, G in self._rows(names if self.block != 1 else ()):
            kept = masks[name].to(G.device)
            gone = gone_with_readers(kept, made.get(name, ()))
            G.masked_fill_(gone.flatten(), 0)
            w, kept = self.signals.weights[name].masked_fill(gone, 0), kept.flatten()
            parts = [
                without(g, self.damping, v, stays)
                for g, v, stays in zip(*(self._blocks(t) for t in (G, w.flatten(), kept)), strict=True)
            ]
            new[name] = torch.cat(parts).reshape(w.shape)
        return new

    def _rises(self, G: Tensor, w: Tensor, unit: Tensor | None, size: int) -> tuple[Tensor, Tensor]:
        """Return the rises of units within one tensor, and how many weights each has there."""
        if self.block == 1:  # diagonal
            each = w.double().square() * (G.double().square().sum(0) + self.damping)
            if unit is None:
                return each, torch.ones_like(each)
            return unit_sums(each, unit.reshape(-1), size)
        if unit is None:
            parts = zip(self._blocks(G), self._blocks(w), strict=True)
            found = torch.cat([rises(g, self.damping, v) for g, v in parts])
            return found, torch.ones_like(found)
        of_each = unit.reshape(-1).to(w.device)
        found = torch.zeros(size, dtype=torch.float64, device=w.device)
        for g, v, u in zip(self._blocks(G), self._blocks(w), self._blocks(of_each), strict=True):
            units, local = u.unique(return_inverse=True)
            first = int(units[0] < 0)  # of none
            if len(units) > first:
                found[units[first:]] += rises(g, self.damping, v, local - first)
        return found, unit_sums(w, of_each, size)[1]

    def _blocks(self, t: Tensor) -> tuple[Tensor, ...]:
        return t.split(self.block or t.shape[-1], -1)

    def _rows(self, names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        """Yield, tensor by tensor, gradients over the root of their number [samples, weights]."""
        weights = self.signals.weights
        sizes = {name: self.samples * weights[name].numel() * weights[name].element_size() for name in names}
        most = max(sizes, key=lambda name: sizes[name], default=None)
        bound = self.gigabytes * _GIGA
        if most is not None and sizes[most] > bound:
            fit = int(bound // (weights[most].numel() * weights[most].element_size()))
            raise IsopruneError(
                f"The gradients of {self.samples} samples by {most} alone take {sizes[most] / _GIGA:.1f} GB, "
                f"more than gigabytes={self.gigabytes:g}. "
                + (f"Lower samples (up to {fit} fit), or raise gigabytes." if fit else "Raise gigabytes.")
            )
        part: list[str] = []
        for name in names:
            if part and sum(sizes[n] for n in [*part, name]) > bound:
                yield from self._gathered(part)
                part = []
            part.append(name)
        if part:
            yield from self._gathered(part)

    def _gathered(self, names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        weights, filled = self.signals.weights, 0
        rows = {name: weights[name].new_empty(self.samples, weights[name].numel()) for name in names}
        for found in self.signals.sample_gradients():
            number = min(self.samples - filled, len(found[names[0]]))
            for name in names:
                rows[name][filled : filled + number] = found[name][:number].flatten(1)
            filled += number
            if filled == self.samples:
                break
        for name in names:
            G = rows.pop(name)[:filled]
            # A weight that is zero is gone already: it makes up for nothing.
            G.masked_fill_(weights[name].flatten() == 0, 0).div_(filled**0.5)
            yield name, G
