"""Training with a penalty, one a file: `(model, plan, **options) -> (step -> loss)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from isoprune.methods.penalties.greg import greg_1, greg_2
from isoprune.methods.penalties.growth import Growth
from isoprune.methods.penalties.orthogonality import kernel_orthogonality, orthogonal_convolution
from isoprune.methods.penalties.penalty import Penalty
from isoprune.methods.penalties.tpp import tpp

PENALTIES: dict[str, Callable[..., Penalty]] = {
    f.__name__: f for f in (tpp, greg_1, greg_2, kernel_orthogonality, orthogonal_convolution)
}

# Those that push out the channels of a plan; the others have nothing to do with pruning.
PRUNING = ("tpp", "greg_1", "greg_2")


def steps_needed(name: str, options: Mapping[str, Any]) -> int:
    """Return how many steps a penalty with all its options given takes until its channels can go."""
    if name not in PRUNING:
        return 0
    steps = Growth(options["growth"], options["interval"], options["ceiling"]).steps + options["stabilise"]
    if name == "greg_2":
        steps += Growth(options["pick_growth"], options["interval"], options["pick_ceiling"]).steps
    return steps


__all__ = [
    "PENALTIES",
    "PRUNING",
    "Penalty",
    "greg_1",
    "greg_2",
    "kernel_orthogonality",
    "orthogonal_convolution",
    "steps_needed",
    "tpp",
]
