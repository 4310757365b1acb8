"""Several repairs, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Generator, nn

from isoprune.methods.repairs.copies import copied
from isoprune.types import Batches, Plan


def chain(
    pruned: nn.Module,
    *,
    dense: nn.Module | None,
    plan: Plan | None,
    batches: Batches | None,
    generator: Generator,
    steps: Sequence[Callable[..., nn.Module]] = (),
) -> nn.Module:
    """Return what the last of ``steps`` makes of what the one before it made, and so on.

    In a config a list of choices is a chain: ``repair = ["reconstruct", {name = "polar", gain = 1}]``.

    Args:
        steps: Repairs with their options bound; each gets the same dense network, plan and data.
    """
    repaired = copied(pruned)
    for step in steps:
        repaired = step(repaired, dense=dense, plan=plan, batches=batches, generator=generator)
    return repaired
