"""Further rounds of pruning for networks that are masked already, at the grain of their masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from isoprune.graph import Graph
from isoprune.pruning import Pruned
from isoprune.pruning.grains import Grain, units_of
from isoprune.pruning.mask import element_masks, masks_of
from isoprune.pruning.mask import harden as plain_copy
from isoprune.pruning.mask_plan import plan_units
from isoprune.pruning.masking import mask_by
from isoprune.pruning.shrink import shrink as without_units
from isoprune.pruning.weight_norms import refuse_normed
from isoprune.types import IsopruneError, Network, module_of
from isoprune.types.units import counted
from isoprune.verbs.scorer import Scorer


def without_masks(network: Network, grain: Grain) -> Network:
    """Return a masked network without its masked channels, to prune on; one without masks as it is."""
    if not masks_of(module_of(network)):
        return network
    pruned = _with_plan(network, grain)
    return replace(pruned, model=without_units(plain_copy(pruned.model), pruned.graph, pruned.plan))


def _with_plan(network: Network, grain: Grain) -> Pruned:
    """Return a masked network with the plan of its masks, which must be of this grain."""
    if not isinstance(network, Pruned):
        raise IsopruneError(
            "The network is masked and comes without its plan. Give the Pruned that prune returned, or make "
            "its zeros plain first: isoprune.harden(network)."
        )
    if network.plan.grain != str(grain):
        raise IsopruneError(
            f"The network is masked by {counted(network.plan.grain)}, and a plan of {counted(str(grain))} "
            f"cannot go on from there. Take grain='{network.plan.grain}', or make zeros plain first: "
            "isoprune.harden(pruned)."
        )
    return network


def masked_units(
    network: Network,
    example_inputs: Any,
    grain: Grain,
    ratio: Any,
    score: Scorer,
    graph_of: Callable[[nn.Module], Graph],
    **options: Any,
) -> Pruned:
    """Return the network with units of single tensors held at zero, those of earlier rounds among them."""
    model = module_of(network)
    first = not masks_of(model)
    before = None if first else _with_plan(network, grain).plan
    plain = model if first else plain_copy(model)
    graph = graph_of(plain)
    units = units_of(graph, grain)
    refuse_normed(plain, graph, [m.tensor for u in units for m in u.members])
    scores = score.of(plain, example_inputs)(units)
    plan = plan_units(graph, units, scores, grain=grain, ratio=ratio, before=before, **options)
    new = score.updated(plain, lambda: element_masks(graph, plan, units))
    made = mask_by(new, example_inputs, graph, plan, units)
    if not isinstance(network, Pruned):
        return replace(made, dense=model)
    return replace(
        made,
        dense=model if first else network.dense,
        graph=graph if first else network.graph,
        history=(*network.history, *made.history),
    )
