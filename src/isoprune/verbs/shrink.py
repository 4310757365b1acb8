"""Make a network smaller that is masked by whole channels."""

from __future__ import annotations

from dataclasses import replace

from isoprune.pruning import Pruned
from isoprune.pruning.costs import costs_of
from isoprune.pruning.grains import read_grain
from isoprune.pruning.mask import harden as plain_copy
from isoprune.pruning.pruned import require_pruned
from isoprune.pruning.shrink import shrink as without_units
from isoprune.types import IsopruneError
from isoprune.types.units import counted
from isoprune.verbs.verify import verify


def shrink(pruned: Pruned) -> Pruned:
    """Return a network masked by whole channels without them: smaller, of the same class, proven.

    Raises:
        IsopruneError: If its plan is of another grain: single weights leave holes in every channel.
    """
    require_pruned(pruned, "shrink")
    if not read_grain(pruned.plan.grain).whole:
        raise IsopruneError(
            f"The plan is of {counted(pruned.plan.grain)}, which cannot be cut out of dense tensors. Prune "
            "at grain 'channel' for a smaller network; masks alone make none."
        )
    graph, plan = pruned.graph, pruned.plan
    small = without_units(plain_copy(pruned.model), graph, plan)
    made = replace(pruned, model=small, costs=costs_of(pruned.dense, small, graph, plan))
    return replace(made, proof=verify(made), history=(*pruned.history, {"step": "shrink"}))
