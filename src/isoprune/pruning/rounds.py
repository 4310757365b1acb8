"""Rounds of pruning: the plan of a small network in the numbers of the dense one, and the way back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from isoprune.graph import Graph
from isoprune.graph.cloning import clone_sharing, tensor_names
from isoprune.graph.labels import box_size, keep_mask
from isoprune.pruning.shrink import replace_tensors, scales
from isoprune.pruning.weight_norms import weight_norms
from isoprune.types import IsopruneError, Plan


def renumbered(graph: Graph, plan: Plan, small: Graph, later: Plan) -> Plan:
    """Return ``later``, made for the network that ``plan`` left, in the numbers of the dense network.

    A channel of the dense network goes if all that is left of it in one of the tensors that make it goes.

    Args:
        graph, plan: Of the dense network, and what it lost so far.
        small, later: Of the network that was left, and what it loses now.

    Raises:
        IsopruneError: If the tensors of the two graphs do not fit.
    """
    kept, kept_later = graph.kept_ids(plan), small.kept_ids(later)
    removed: dict[str, set[int]] = {}
    for group in graph.groups:
        for member in group.members:
            if member.role == "out" and member.tensor in small.tensors:
                survivors = _surviving(graph, kept, small, kept_later, member.tensor)
                before = _labels(member.channels, _stays(graph, member.tensor, kept))
                after = _labels(member.channels, survivors)
                removed.setdefault(group.name, set()).update(before - after)
    return graph.removing({name: sorted(gone) for name, gone in removed.items() if gone}, **later.request)


def _stays(graph: Graph, tensor: str, kept: Tensor) -> Tensor:
    planes, shape = graph.tensors[tensor]
    mask = keep_mask(planes, kept)
    return torch.ones(shape, dtype=torch.bool) if mask is None else mask.expand(shape)


def _surviving(graph: Graph, kept: Tensor, small: Graph, later: Tensor, tensor: str) -> Tensor:
    """Return which elements of a dense tensor both plans keep (bool)."""
    first, second = _stays(graph, tensor, kept), _stays(small, tensor, later)
    if int(first.sum()) != second.numel():
        raise IsopruneError(
            f"{tensor} has {second.numel():,} elements where the plan leaves {int(first.sum()):,}: the "
            "network was changed by other hands. Prune it anew: isoprune.prune(pruned.model, ...)."
        )
    both = first.clone()
    both[first] = second.reshape(-1)
    return both


def _labels(channels: Tensor, alive: Tensor) -> set[int]:
    """Return the channels of which some element is alive."""
    wide = [d for d in range(alive.dim()) if channels.shape[d] == 1]
    left = alive.amax(dim=wide, keepdim=True) if wide else alive
    return set(channels[left].tolist()) - {-1}


def _laid_back(whole: Tensor, stays: Tensor, left: Tensor) -> Tensor:
    full = whole.detach().clone()
    full[stays.to(full.device)] = left.reshape(-1).to(full)
    return full


def inflated(dense: nn.Module, graph: Graph, plan: Plan, small: nn.Module) -> nn.Module:
    """Return a copy of ``dense`` with the weights of ``small``, which ``plan`` left of it, in their places.

    What was removed is as in ``dense``. Scales that shrinking multiplied into weights are taken out again.
    """
    kept = graph.kept_ids(plan)
    factors = scales(dense, graph, plan)
    little = dict(tensor_names(small).values())
    new: dict[str, Tensor] = {}
    for name, whole in tensor_names(dense).values():
        left = little[name].detach()
        if name in factors:
            left = left / factors[name].to(left)
        if name in graph.tensors:
            planes, shape = graph.tensors[name]
            size = box_size(planes, shape, kept)
            if size != tuple(left.shape):
                raise IsopruneError(
                    f"{name} is {tuple(left.shape)}, but the plan leaves {size} of it: the network was "
                    "changed by other hands, so nothing can be proven of it."
                )
            left = _laid_back(whole, _stays(graph, name, kept), left)
        new[name] = left
    for norm in weight_norms(dense, graph):
        for name, factor in norm.factors(new, little, graph, kept).items():
            if factor.dim() == 0:
                new[name] = new[name] / factor.to(new[name])
                continue
            left = little[name].detach() / factor.to(little[name])
            new[name] = _laid_back(new[name], _stays(graph, name, kept), left)
    out = clone_sharing(dense)
    replace_tensors(out, {name: t.clone() for name, t in new.items()})
    return out
