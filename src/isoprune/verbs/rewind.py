"""Give what stays of a network the weights that it had earlier: between rounds, or before a retraining."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from isoprune.graph.cloning import clone_sharing, tensor_names
from isoprune.pruning import Pruned, shrink
from isoprune.pruning.grains import read_grain
from isoprune.pruning.mask import masked, masks_of
from isoprune.pruning.pruned import require_pruned
from isoprune.pruning.residual_blocks import without_blocks
from isoprune.pruning.shrink import replace_tensors
from isoprune.types import IsopruneError
from isoprune.types.units import DEPTH, counted


def rewind(pruned: Pruned, earlier: nn.Module | Mapping[str, Tensor]) -> Pruned:
    """Return the pruned network with weights, biases and buffers of ``earlier``, where its plan keeps them.

    Args:
        pruned: What a verb gave back; left as it is. Masks stay, shapes too.
        earlier: The dense network, or its state dict, as it was: after epoch k of its training (Frankle et
            al., ICML 2020), or as it was drawn (k = 0: the lottery ticket).

    Raises:
        IsopruneError: If ``earlier`` has other tensors than the dense network.
    """
    require_pruned(pruned, "rewind")
    state = earlier.state_dict() if isinstance(earlier, nn.Module) else dict(earlier)
    dense, names = clone_sharing(pruned.dense), dict(tensor_names(pruned.dense).values())
    for name, tensor in names.items():
        if name in state and state[name].shape != tensor.shape:
            raise IsopruneError(
                f"{name} is {tuple(state[name].shape)} in the earlier network, {tuple(tensor.shape)} in the "
                "dense one. Give the network that was pruned, as it was at an earlier step."
            )
    if missing := sorted(name for name, _ in pruned.dense.named_parameters() if name not in state):
        raise IsopruneError(
            f"The earlier network has no {missing[0]}. Give the network that was pruned, as it was at an "
            "earlier step."
        )
    replace_tensors(dense, {name: state[name].detach().clone() for name in names if name in state})
    masks = masks_of(pruned.model)
    if not masks and pruned.plan and read_grain(pruned.plan.grain).of_tensors:
        raise IsopruneError(
            f"The masks of the plan of {counted(pruned.plan.grain)} are gone (hardened, or the weights "
            "shared). Rewind the masked network."
        )
    if pruned.plan.grain == DEPTH:
        model = without_blocks(dense, pruned.plan)
    else:
        model = masked(dense, masks) if masks else shrink(dense, pruned.graph, pruned.plan)
    return replace(pruned, model=model, history=(*pruned.history, {"step": "rewind"}))
