"""Training with a penalty: `(model, plan, **options) -> (step -> loss)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from isoprune.methods.penalties.auto_balanced import auto_balanced
from isoprune.methods.penalties.greg import greg_1, greg_2
from isoprune.methods.penalties.group_lasso import group_lasso
from isoprune.methods.penalties.growth import Growth
from isoprune.methods.penalties.increg import increg
from isoprune.methods.penalties.orthogonality import kernel_orthogonality, orthogonal_convolution
from isoprune.methods.penalties.penalty import Penalty
from isoprune.methods.penalties.slimming import slimming, sss
from isoprune.methods.penalties.tpp import tpp
from isoprune.types.method import method_of

PENALTIES: dict[str, Callable[..., Penalty]] = {
    f.__name__: f
    for f in (
        tpp, greg_1, greg_2, increg, auto_balanced, group_lasso, slimming, sss,
        kernel_orthogonality, orthogonal_convolution,
    )
}  # fmt: skip


def steps_needed(penalty: Callable[..., Penalty], options: Mapping[str, Any]) -> int:
    """Return how many steps a penalty with all its options given takes until its units can go."""
    grows = [Growth(*map(options.__getitem__, keys)) for keys in method_of(penalty).grows]
    return sum(each.steps for each in grows) + options["stabilise"] if grows else 0
