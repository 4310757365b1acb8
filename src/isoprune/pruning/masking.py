"""A plan made real by masks: the network of the dense shape, proven, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from torch import Tensor, nn

from isoprune.graph import Graph
from isoprune.graph.cloning import tensor_names
from isoprune.graph.isolation import isolated
from isoprune.pruning.costs import Cost, Costs, everything, filters_removed, flops
from isoprune.pruning.grains import read_grain
from isoprune.pruning.mask import element_masks, masked
from isoprune.pruning.prune import NothingRemoved
from isoprune.pruning.pruned import Pruned
from isoprune.pruning.reference import zeroing
from isoprune.pruning.shrink import replace_tensors
from isoprune.pruning.trials import Trial
from isoprune.pruning.verify import Proof, Run, Wanted, proven
from isoprune.pruning.weight_norms import refuse_normed
from isoprune.types import Plan, Units
from isoprune.types.units import counted


@isolated()
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
            f"asked for: no tensor has enough {counted(plan.grain)} that could go."
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
    whole = read_grain(plan.grain).whole
    stays = graph.kept_ids(plan) if whole else None

    def mask_(dense: nn.Module) -> None:
        tensors = dict(tensor_names(dense).values())
        replace_tensors(dense, {name: tensors[name] * kept.to(tensors[name]) for name, kept in masks.items()})

    def reference(run: Run, trial: Trial) -> Wanted:
        statistics: set[str] = set()
        if stays is not None:
            with zeroing(trial.graph, trial.way, trial.kept_ids(graph, stays)) as mode:
                output, statistics = run(mode), mode.statistics
            if not statistics:
                return Wanted(output, statistics)
        return Wanted(run(nullcontext(), mask_), statistics)

    return proven(model, small, graph, inputs, None, reference, {})


def masked_costs(
    model: nn.Module, graph: Graph, plan: Plan, masks: Mapping[str, Tensor], units: tuple[Units, ...]
) -> Costs:
    """Return what a masked network costs: zeros are counted, and save a dense kernel no time."""
    names = {name for name, _ in model.named_parameters()}
    zeros = sum(int((~kept).sum()) for name, kept in masks.items() if name in names)
    total, work = sum(p.numel() for p in model.parameters()), flops(graph, everything(graph))
    removed = plan.removed
    rows = tuple((u.name, u.size, len(removed.get(u.name, ()))) for u in units)
    filters = filters_removed(graph, graph.kept_ids(plan)) if read_grain(plan.grain).whole else 0.0
    return Costs.between(Cost(total, total, work), Cost(total, total - zeros, work), rows, filters)
