"""What was pruned so far, while units go group after group and the layers that read them are refit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from isoprune.linalg.elimination import Elimination, Reader, eliminate
from isoprune.methods.layers.output_errors import ErrorSums
from isoprune.methods.layers.readers import ReadingLayer
from isoprune.types import Units

_WIDE = 1024
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
