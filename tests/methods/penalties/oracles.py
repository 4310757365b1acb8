"""The penalties' losses as they are written, by loops over filters, layers and groups of convolutions."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from isoprune.graph import Graph
from isoprune.types import Plan


def gone_rows(net: nn.Module, graph: Graph, plan: Plan) -> dict[str, set[int]]:
    """Return the rows of every parameter that go, for each that has some of a pruned group."""
    parameters = dict(net.named_parameters())
    found: dict[str, set[int]] = {}
    for group in graph.groups:
        removed = set(plan.removed.get(group.name, ()))
        for member in group.members if removed else ():
            if member.tensor in parameters and member.role in ("out", "other"):
                for row, channel in enumerate(member.channels.flatten().tolist()):
                    if channel in removed:
                        found.setdefault(member.tensor, set()).add(row)
    return found


def operator_rows(weight: Tensor, groups: int) -> Tensor:
    """Return a convolution's filters as rows over all inputs: zero where they read nothing."""
    filters, channels, *taps = weight.shape
    rows = torch.zeros(filters, channels * groups, *taps, dtype=weight.dtype)
    for i in range(filters):
        first = (i // (filters // groups)) * channels
        rows[i, first : first + channels] = weight[i]
    return rows.flatten(1)


def weights(net: nn.Module, rows: dict[str, set[int]]) -> Iterator[tuple[Tensor, set[int]]]:
    parameters = dict(net.named_parameters())
    for name, gone in rows.items():
        if parameters[name].dim() > 1:
            groups = getattr(net.get_submodule(name.rpartition(".")[0]), "groups", 1)
            yield operator_rows(parameters[name], groups), gone


def tpp(net: nn.Module, graph: Graph, plan: Plan, *, strength: float, gram: float) -> Tensor:
    rows = gone_rows(net, graph, plan)
    total = torch.zeros((), dtype=torch.float64)
    for W, gone in weights(net, rows):
        G = W @ W.T
        T = G.detach().clone()
        for i in gone:
            T[i, :] = 0
            T[:, i] = 0
        total = total + gram * strength * ((G - T) ** 2).mean()
    for name, parameter in net.named_parameters():
        for i in rows.get(name, ()):
            total = total + strength / 2 * (parameter[i] ** 2).sum()
    return total


def l2(net: nn.Module, graph: Graph, plan: Plan, *, gone: float, kept: float) -> Tensor:
    """Return the squares of pruned layers' filters, those that go and those that stay weighted apart."""
    rows = gone_rows(net, graph, plan)
    total = torch.zeros((), dtype=torch.float64)
    for W, chosen in weights(net, rows):
        for i, w in enumerate(W):
            total = total + (gone if i in chosen else kept) / 2 * (w**2).sum()
    return total
