"""Whole residual blocks go: the network is less deep, and of the same class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from isoprune.graph import Graph
from isoprune.pruning import NothingRemoved, Pruned
from isoprune.pruning.grains import Grain
from isoprune.pruning.mask import masks_of
from isoprune.pruning.mask_plan import plan_units
from isoprune.pruning.residual_blocks import (
    block_costs,
    drop_blocks,
    plan_of_items,
    residual_blocks,
    units_of_blocks,
)
from isoprune.types import IsopruneError, Network, module_of
from isoprune.types.units import DEPTH
from isoprune.verbs.scorer import Scorer


def without_whole_blocks(
    network: Network,
    example_inputs: Any,
    ratio: Any,
    score: Scorer,
    graph_of: Callable[[nn.Module], Graph],
    **options: Any,
) -> Pruned:
    """Return the network without a part of the residual blocks of each list, those with the lowest scores.

    Raises:
        NothingRemoved: If it has no such blocks, or too few.
        IsopruneError: If it is masked, or lost channels before.
    """
    model = module_of(network)
    before = network if isinstance(network, Pruned) and network.plan else None
    if masks_of(model) or (before is not None and before.plan.grain != DEPTH):
        raise IsopruneError(
            f"Grain {DEPTH} does not go on from masks or from a plan of another grain. Prune the network as "
            "it is now: isoprune.prune(isoprune.harden(pruned.model), example_inputs, ...)."
        )
    blocks = residual_blocks(model, example_inputs)
    units = units_of_blocks(model, blocks)
    graph = graph_of(model)
    scores = score.of(model, example_inputs)(units) if units else {}
    plan = plan_units(graph, units, scores, grain=Grain(DEPTH), ratio=ratio, **options)
    if not plan and ratio not in (0, 0.0):
        found = ", ".join(f"{len(b)} in {name}" for name, b in blocks.items()) or "none"
        raise NothingRemoved(
            f"No residual block of {type(model).__name__} went: found were {found}, and the last of a list "
            "stays. A block is an item of a ModuleList or Sequential that adds to what it is given; one that "
            "concatenates, as DenseNet's, is none: prune its channels instead, without grain."
        )
    made = drop_blocks(model, example_inputs, graph, plan_of_items(model, blocks, plan))
    if before is None:
        history = network.history if isinstance(network, Pruned) else ()
        return replace(made, history=(*history, *made.history))
    whole = before.plan.then(made.plan)
    return replace(
        made,
        dense=before.dense,
        graph=before.graph,
        plan=whole,
        costs=block_costs(before.dense, made.model, before.graph, whole),
        history=(*before.history, *made.history),
    )
