"""Several repairs, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Generator

from isoprune.graph.cloning import copied
from isoprune.pruning.grains import require_grain
from isoprune.pruning.pruned import Pruned
from isoprune.signals.signals import Signals
from isoprune.types.method import method
from isoprune.types.methods import Repaired
from isoprune.types.units import DEPTH, GRAINS


@method("repair", grains=(*GRAINS, DEPTH))
def chain(
    pruned: Pruned, signals: Signals, *, generator: Generator, steps: Sequence[Callable[..., Any]] = ()
) -> Repaired:
    """Return what the last of ``steps`` makes of what the one before it made, and so on.

    In a config a list of choices is a chain: ``repair = ["reconstruct", {name = "polar", gain = 1}]``.

    Args:
        steps: Repairs with their options bound; each gets the same dense network, plan and data.

    Cost: that of its steps. Memory: a copy of the network, and what the step that holds most does.

    Raises:
        IsopruneError: From a step; if one does not know the grain of the plan, before any is done.
    """
    for step in steps:
        require_grain(step, pruned.plan.grain)
    done = Repaired(copied(pruned.model))
    for step in steps:
        now = replace(pruned, model=done.model)
        made = step(now, signals.of(done.model), generator=generator)
        done = Repaired.of(made).after(done)
    return done
