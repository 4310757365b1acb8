"""The filters of a group: for every channel, the weights that make it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from isoprune.graph import Graph
from isoprune.types import Scores, Units


def score_filters(tensors: Mapping[str, Tensor], graph: Graph, score: Callable[[Tensor], Tensor]) -> Scores:
    """Return, per group, the mean over its producers of ``score``: [filters, fan_in] -> [filters]."""
    return {g.name: _of_group(g, tensors, score) for g in graph.groups}


def _of_group(group: Units, tensors: Mapping[str, Tensor], score: Callable[[Tensor], Tensor]) -> Tensor:
    known = [m for m in group.members if len(m.dims) == 1 and m.tensor in tensors]
    members = [m for m in known if m.role == "out" and tensors[m.tensor].dim() > 1] or known
    total = torch.zeros(group.size, dtype=torch.float64)
    count = torch.zeros(group.size, dtype=torch.float64)
    for m in members:
        tensor = tensors[m.tensor].detach()
        W = tensor.movedim(m.dims[0], 0).reshape(tensor.shape[m.dims[0]], -1)
        channels = m.channels.reshape(-1)
        mine = channels >= 0
        total.index_add_(0, channels[mine], score(W)[mine.to(W.device)].double().cpu())
        count.index_add_(0, channels[mine], torch.ones(int(mine.sum()), dtype=torch.float64))
    return total / count.clamp_min(1)
