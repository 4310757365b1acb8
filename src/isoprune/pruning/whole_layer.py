"""The pruned network with one layer restored, as if pruning had spared it."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from isoprune.graph.cloning import tensor_names
from isoprune.pruning.grains import read_grain
from isoprune.pruning.mask import element_masks, harden, masked, masks_of
from isoprune.pruning.pruned import Pruned
from isoprune.pruning.rounds import inflated
from isoprune.pruning.shrink import shrink
from isoprune.types import IsopruneError
from isoprune.types.units import layer_of


def with_whole_layer(network: Pruned, layer: str) -> tuple[nn.Module, tuple[str, ...]] | None:
    """Return ``network`` with all units back that ``layer`` makes, and which other layers make them.

    What comes back is the dense network's, all else stays as it is now, trained or repaired. None where no
    plan of whole channels took any that the layer makes, or its units cannot stay alone. (Units that it only
    reads are those of another layer: a gate would else be told to have lost what its whole block lost.)

    Cost: a copy of the network, and two forwards recorded where it was shrunk.
    """
    graph, plan = network.graph, network.plan
    if not plan or not read_grain(plan.grain).whole:
        return None
    units = (*graph.groups, *graph.heads)
    makers = {u.name: {layer_of(m.tensor) for m in u.members if m.role == "out"} for u in units}
    back = {name for name in plan.removed if layer in makers.get(name, ())}
    kept = {name: mask for name, mask in plan.kept.items() if name not in back}
    less = replace(plan, kept=kept)
    if not back:
        return None
    others = tuple(sorted(set().union(*(makers[name] for name in back)) - {layer}))
    try:
        masks = masks_of(network.model)
        if not masks:
            whole = inflated(network.dense, graph, plan, network.model)
            return shrink(whole, graph, less).eval(), others
        whole = _laid_over(network.dense, harden(network.model), masks)
        return masked(whole, element_masks(graph, less, units)).eval(), others
    except IsopruneError:  # sets that must keep equally many, or a network that other hands changed
        return None


def _laid_over(dense: nn.Module, now: nn.Module, masks: dict[str, Tensor]) -> nn.Module:
    """Return ``now`` with the dense network's elements where masks held zeros."""
    before = dict(tensor_names(dense).values())
    for name, tensor in tensor_names(now).values():
        if name in masks:
            gone = ~masks[name].to(tensor.device)
            tensor.detach()[gone] = before[name].detach().to(tensor)[gone]
    return now
