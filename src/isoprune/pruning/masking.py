"""A plan made real by masks: the network of the dense shape, proven, and what it costs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from isoprune.graph import Graph
from isoprune.graph.trace import as_call, clone_sharing, tensor_names
from isoprune.pruning.costs import Cost, Costs, everything, filters_removed, flops
from isoprune.pruning.grains import read_grain
from isoprune.pruning.mask import element_masks, masked
from isoprune.pruning.prune import NothingRemoved
from isoprune.pruning.pruned import Pruned
from isoprune.pruning.reference import zeroed_forward
from isoprune.pruning.shrink import replace_tensors
from isoprune.pruning.verify import Proof, compared
from isoprune.pruning.weight_norms import refuse_normed
from isoprune.types import Plan, Units


def mask_by(
    model: nn.Module, example_inputs: Any, graph: Graph, plan: Plan, units: tuple[Units, ...]
) -> Pruned:
    """Return ``model`` with what ``plan`` removes held at zero, proven.

    The masked network is compared with one whose tensors are multiplied by the masks, and where the plan is
    of whole channels with the dense one whose channels are zeroed where they are read. There, where a mean or
    a norm runs over channels, a masked network differs from the shrunk one: it still counts the zeros.

    Raises:
        NothingRemoved: If the plan removes nothing though something was asked for.
        WrongNetwork: If the network does not compute what it should.
    """
    if not plan and plan.request.get("ratio") not in (0, 0.0):
        raise NothingRemoved(
            f"Nothing was removed of {type(model).__name__}, though {plan.request.get('ratio')} was "
            f"asked for: no tensor has enough {plan.grain}s that could go."
        )
    masks = element_masks(graph, plan, units)
    refuse_normed(model, graph, masks)
    small = masked(model, masks)
    proof = prove_masks(model, small, graph, plan, masks, example_inputs)
    history = ({"step": "prune", "grain": plan.grain, "request": dict(plan.request)},)
    costs = masked_costs(model, graph, plan, masks, units)
    return Pruned(small, model, plan, graph, proof, costs, history, example_inputs)


def prove_masks(
    model: nn.Module, small: nn.Module, graph: Graph, plan: Plan, masks: Mapping[str, Tensor], inputs: Any
) -> Proof:
    """Return how far the masked network ``small`` is from ``model`` with the masked elements set to zero."""
    plain = clone_sharing(model).eval()
    tensors = dict(tensor_names(model).values())
    zeroed = {name: tensors[name].detach() * kept.to(tensors[name].device) for name, kept in masks.items()}
    replace_tensors(plain, zeroed)
    args, kwargs = as_call(inputs)
    with torch.no_grad():
        want = plain(*args, **kwargs)
    statistics: set[str] = set()
    if read_grain(plan.grain).whole:
        dense = clone_sharing(model).eval()
        read, mode, _ = zeroed_forward(
            dense, graph, graph.recording.passes[0], graph.kept_ids(plan), copy.copy(inputs)
        )
        statistics = mode.statistics
        want = want if statistics else read
    return compared(want, clone_sharing(small).eval(), inputs, tuple(sorted(statistics)))


def masked_costs(
    model: nn.Module, graph: Graph, plan: Plan, masks: Mapping[str, Tensor], units: tuple[Units, ...]
) -> Costs:
    """Return what a masked network costs: zeros are counted, and save a dense kernel no time."""
    names = {name for name, _ in model.named_parameters()}
    zeros = sum(int((~kept).sum()) for name, kept in masks.items() if name in names)
    total, work = sum(p.numel() for p in model.parameters()), flops(graph, everything(graph))
    removed = plan.removed
    counted = tuple((u.name, u.size, len(removed.get(u.name, ()))) for u in units)
    whole = read_grain(plan.grain).whole
    ratios = {
        "units": sum(n for *_, n in counted) / max(sum(size for _, size, _ in counted), 1),
        "filters": filters_removed(graph, graph.kept_ids(plan)) if whole else 0.0,
        "parameters": zeros / max(total, 1),
        "flops": 0.0,
    }
    return Costs(Cost(total, total, work), Cost(total, total - zeros, work), ratios, counted)
