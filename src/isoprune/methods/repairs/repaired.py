"""What a repair gives back that takes training steps: the network, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Repaired:
    """A repaired network, and the samples that its repair took.

    A repair in closed form gives back the network alone, which is one with both counts zero.

    Attributes:
        model: The network.
        trained: Samples that its steps took, forward and backward, each with a forward of the dense network.
        judged: Samples that were only passed forward through both networks, to see when to stop.
    """

    model: nn.Module
    trained: int = 0
    judged: int = 0

    @staticmethod
    def of(made: Any) -> Repaired:
        """Return what a repair gave back, with its cost."""
        return made if isinstance(made, Repaired) else Repaired(made)

    def after(self, before: Repaired) -> Repaired:
        """Return this network with the cost of both repairs."""
        return Repaired(self.model, self.trained + before.trained, self.judged + before.judged)
