"""Prove a pruned network again, as it is now."""

from __future__ import annotations

from isoprune.pruning import Pruned
from isoprune.pruning.grains import read_grain, units_of
from isoprune.pruning.mask import check_masks, element_masks, masked, masks_of
from isoprune.pruning.mask import harden as plain_copy
from isoprune.pruning.masking import prove_masks
from isoprune.pruning.pruned import require_pruned
from isoprune.pruning.residual_blocks import deepened, prove_blocks
from isoprune.pruning.rounds import inflated
from isoprune.pruning.verify import Proof
from isoprune.pruning.verify import verify as proven
from isoprune.types.units import DEPTH


def verify(pruned: Pruned) -> Proof:
    """Return the proof that the network, as it is now, computes what the plan leaves of the dense one.

    A network that was shrunk is compared with one of the dense shape that has its weights, with the removed
    channels zeroed where they are read; a masked one with one whose tensors are multiplied by the masks.
    Retraining and repair change weights, not this.

    Raises:
        WrongNetwork: If an element of an output differs by more than rounding: 1e-9 of its size in float64.
        IsopruneError: If the network's shapes are not those of its plan.
    """
    require_pruned(pruned, "verify")
    current_masks = masks_of(pruned.model)
    if current_masks or read_grain(pruned.plan.grain).of_tensors:
        plain = plain_copy(pruned.model)
        units = units_of(pruned.graph, pruned.plan.grain)
        masks = element_masks(pruned.graph, pruned.plan, units)
        small = pruned.model
        if not current_masks:  # hardened, or its weights shared
            check_masks(plain, masks)
            small = masked(plain, masks)
        return prove_masks(plain, small, pruned.graph, pruned.plan, masks, pruned.example_inputs)
    plain = plain_copy(pruned.model)  # weights may be shared
    if pruned.plan.grain == DEPTH:
        whole = deepened(pruned.dense, pruned.plan, plain)
        return prove_blocks(whole, plain, pruned.graph, pruned.plan, pruned.example_inputs)
    whole = inflated(pruned.dense, pruned.graph, pruned.plan, plain)
    return proven(whole, plain, pruned.graph, pruned.plan, pruned.example_inputs)
