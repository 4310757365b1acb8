"""The Hessian of the mean loss by the weights that retraining can change, as a product with vectors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from isoprune.methods.measures.free import flat, free_weights, unflat
from isoprune.signals import Signals


@dataclass(frozen=True)
class Hessian:
    """Of the mean loss over all data of ``signals``; vectors are flat, in float64."""

    signals: Signals

    @cached_property
    def free(self) -> dict[str, Tensor]:
        return free_weights(self.signals)

    @cached_property
    def size(self) -> int:
        return sum(int(kept.sum()) for kept in self.free.values())

    @cached_property
    def gradient(self) -> Tensor:
        return flat(self.signals.gradients, self.free)

    def times(self, vector: Tensor) -> Tensor:
        v = unflat(vector, self.free, self.signals.weights)
        return flat(self.signals.hessian(v), self.free)
