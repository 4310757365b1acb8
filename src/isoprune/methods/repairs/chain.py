"""Several repairs, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Generator, nn

from isoprune.methods.repairs.stored import copied
from isoprune.pruning.pruned import Pruned
from isoprune.signals.signals import Signals
from isoprune.types.method import method


@method("repair")
def chain(
    pruned: Pruned, signals: Signals, *, generator: Generator, steps: Sequence[Callable[..., nn.Module]] = ()
) -> nn.Module:
    """Return what the last of ``steps`` makes of what the one before it made, and so on.

    In a config a list of choices is a chain: ``repair = ["reconstruct", {name = "polar", gain = 1}]``.

    Args:
        steps: Repairs with their options bound; each gets the same dense network, plan and data.
    """
    model = copied(pruned.model)
    for step in steps:
        now = replace(pruned, model=model)
        model = step(now, replace(signals, model=model), generator=generator)
    return model
