"""Which outputs of the dense network's layers a pruned network still has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from isoprune.graph import trace
from isoprune.graph.cloning import tensor_names
from isoprune.graph.labels import restrict
from isoprune.methods.layers.attention import ProjectionBlock
from isoprune.methods.layers.stored import stored
from isoprune.methods.layers.weights import Weight
from isoprune.pruning.pruned import Pruned
from isoprune.pruning.shrink import scales
from isoprune.signals.matrices import TRANSPOSED
from isoprune.types import IsopruneError, Plan


@dataclass(frozen=True)
class Kept:
    """Which outputs of a layer are left, and the factors that pruning put on each: on the layer itself,

    and on the BatchNorm behind it. They are not one where the forward divides by a width that was cut (scores
    by the root of a head's width).
    """

    rows: Tensor
    scale: Tensor
    norm: Tensor = field(default_factory=lambda: torch.ones(()))

    def of(self, y: Tensor) -> Tensor:
        """Return what the layer should make, of the outputs [..., channels] of the dense network's."""
        return y[..., self.rows] * self.scale.to(y)

    def part(self, part: ProjectionBlock) -> Kept:
        """Return the share of one projection."""
        return Kept(part.of(self.rows), part.of(self.scale))


def kept_outputs(
    dense: nn.Module, small: Sequence[Weight], pruned: Pruned, example: Any
) -> tuple[dict[str, Kept], dict[str, Tensor]]:
    """Return what is left of the outputs of the weights ``small`` (of ``pruned``), by their names.

    The projections in one weight of an attention come one after the other, each counted from its own first
    output. Second: the factors of `scales`, by tensor.

    Raises:
        IsopruneError: If the plan is not the one by which the dense network became the pruned one.
    """
    plan = pruned.plan
    modules = {weight.name: dense.get_submodule(weight.tensor.rpartition(".")[0]) for weight in small}
    shapes = [getattr(modules[weight.name], weight.key).shape for weight in small]
    if [weight.parameter.shape for weight in small] == shapes and any(w.mask is not None for w in small):
        plan = Plan()  # the units are still there, and those that are masked make zeros
    # As it was recorded for the plan: on an image in which a detector finds nothing less of it runs.
    graph = pruned.graph if pruned.graph.nodes else trace(dense, example)
    left, names = graph.kept_ids(plan), tensor_names(dense)
    factors = scales(dense, graph, plan) if plan.removed else {}
    kept = {}
    for weight in small:
        module = modules[weight.name]
        full = getattr(module, weight.key)
        # The graph knows what is trained, which a mask has another name for, by the first of its names.
        behind = stored(module, weight.key)
        name = names[id(behind)][0] if id(behind) in names else weight.tensor
        planes = graph.tensors.get(name, ((),))[0]
        index = restrict(_outputs(weight, module, full), planes, left)
        if index.shape != weight.parameter.shape:
            raise IsopruneError(
                f"{weight.name}: the plan leaves a weight of shape {tuple(index.shape)} of the dense "
                f"network's {tuple(full.shape)}, and the pruned one has {tuple(weight.parameter.shape)}. "
                "Pass the plan and the dense network that it was pruned from."
            )
        factor = factors.get(name, torch.ones((), dtype=torch.float64)).expand(index.shape)
        rows, scale = (weight.arranged(t)[..., 0].flatten() for t in (index.double(), factor))
        kept[weight.name] = Kept(rows.long(), scale)
    return kept, factors


def _outputs(weight: Weight, module: nn.Module, full: Tensor) -> Tensor:
    """Return which output every element of a weight of the dense network makes, in the weight's shape."""
    if isinstance(module, TRANSPOSED):
        ins, outs = full.shape[:2]
        made = torch.arange(ins)[:, None] // (ins // module.groups) * outs + torch.arange(outs)
    else:
        part = len(full) // weight.blocks if isinstance(module, nn.MultiheadAttention) else len(full)
        made = torch.arange(len(full))[:, None] % part
    return made.reshape(*made.shape, *[1] * (full.ndim - 2)).expand(full.shape)
