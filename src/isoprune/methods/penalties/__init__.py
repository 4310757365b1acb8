"""Training with a penalty, one a file: `(model, plan, **options) -> (step -> loss)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from isoprune.methods.penalties.greg import greg_1, greg_2
from isoprune.methods.penalties.growth import Growth
from isoprune.methods.penalties.orthogonality import kernel_orthogonality, orthogonal_convolution
from isoprune.methods.penalties.penalty import Penalty
from isoprune.methods.penalties.tpp import tpp
from isoprune.types.method import method_of

PENALTIES: dict[str, Callable[..., Penalty]] = {
    f.__name__: f for f in (tpp, greg_1, greg_2, kernel_orthogonality, orthogonal_convolution)
}


def steps_needed(penalty: Callable[..., Penalty], options: Mapping[str, Any]) -> int:
    """Return how many steps a penalty with all its options given takes until its units can go."""
    grows = [Growth(*map(options.__getitem__, keys)) for keys in method_of(penalty).grows]
    return sum(each.steps for each in grows) + options["stabilise"] if grows else 0


__all__ = ["PENALTIES", "Penalty", "steps_needed"]
