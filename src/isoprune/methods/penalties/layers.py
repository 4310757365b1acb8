"""Where a plan's channels lie in a network: rows of weights that make them, and what goes along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from isoprune.graph import Graph
from isoprune.types import IsopruneError, Member, Plan, Units

Gone = Mapping[str, Tensor]  # group name -> bool [channels]; True goes


@dataclass(frozen=True)
class Rows:
    """A parameter whose rows (along ``dim``) are channels of groups.

    ``parts``: group name, rows, and the group's channel of each. ``groups`` are those of a convolution.
    """

    name: str
    parameter: nn.Parameter
    dim: int
    parts: tuple[tuple[str, Tensor, Tensor], ...]
    groups: int = 1

    @property
    def matrix(self) -> Tensor:
        """The rows [n, fan_in]; of a bias or a BatchNorm [n, 1]."""
        return (
            self.parameter.movedim(self.dim, 0).flatten(1)
            if self.parameter.dim() > 1
            else self.parameter[:, None]
        )

    def gone(self, gone: Gone) -> Tensor:
        """Return which rows go, bool [n]."""
        mask = torch.zeros(self.parameter.shape[self.dim], dtype=torch.bool, device=self.parameter.device)
        for group, rows, channels in self.parts:
            mask[rows] = gone[group][channels]
        return mask

    @torch.no_grad()
    def zero_(self, gone: Gone) -> None:
        """Set the rows that go to zero."""
        self.parameter.movedim(self.dim, 0)[self.gone(gone)] = 0


@dataclass(frozen=True)
class Layers:
    """The layers that make the channels of a plan, in the order of the network, each with what goes along.

    ``weights`` are convolutions and Linear layers; ``along`` the biases and BatchNorm weights of the same
    channels, by the place of the weight that they follow.
    """

    weights: tuple[Rows, ...]
    along: tuple[tuple[Rows, ...], ...]


def masks(model: nn.Module, graph: Graph, plan: Plan) -> dict[str, Tensor]:
    """Return which channels of every group go, on the network's device."""
    kept = graph.kept_ids(plan).numpy()
    first = np.unique(graph.component, return_index=True)[1]
    device = next(model.parameters()).device
    # One id stands for its component: they go together.
    gone = {g.name: torch.from_numpy(~kept[first[graph.channels[g.name]]]) for g in graph.groups}
    return {name: mask.to(device) for name, mask in gone.items()}


def layers_of(model: nn.Module, graph: Graph, plan: Plan) -> Layers:
    """Return the layers that make the channels of the groups which lose some.

    Raises:
        IsopruneError: For a transposed convolution in groups, whose rows are no filters.
    """
    wanted = {name for name, channels in plan.removed.items() if len(channels)}
    parameters = dict(model.named_parameters())
    found: dict[str, list[tuple[Units, Member]]] = {}
    for group in graph.groups:
        if group.name in wanted:
            for member in group.members:
                if member.tensor in parameters and len(member.dims) == 1 and member.role in ("out", "other"):
                    found.setdefault(member.tensor, []).append((group, member))
    made = {name: _rows(model, name, parameters[name], members) for name, members in found.items()}
    weights = [made[name] for name in parameters if name in made and parameters[name].dim() > 1]
    along: list[list[Rows]] = [[] for _ in weights]
    for name in parameters:
        if name in made and parameters[name].dim() == 1:
            along[_followed(made[name], weights, list(parameters))].append(made[name])
    return Layers(tuple(weights), tuple(tuple(rows) for rows in along))


def _followed(rows: Rows, weights: list[Rows], order: list[str]) -> int:
    """Return the last weight of the same channels before ``rows`` (or the first, if it comes before them)."""
    groups = {group for group, _, _ in rows.parts}
    same = [i for i, w in enumerate(weights) if groups & {group for group, _, _ in w.parts}]
    before = [i for i in same if order.index(weights[i].name) < order.index(rows.name)]
    return before[-1] if before else same[0]


def _rows(model: nn.Module, name: str, parameter: nn.Parameter, members: list[tuple[Units, Member]]) -> Rows:
    dim = members[0][1].dims[0]
    module = model.get_submodule(name.rpartition(".")[0])
    groups = getattr(module, "groups", 1) if parameter.dim() > 1 else 1
    if dim != 0 and groups > 1:
        raise IsopruneError(
            f"{name} is a transposed convolution in {groups} groups, which no penalty knows. Leave it whole "
            "by a ratio of 0 for it, or prune in one shot."
        )
    parts = []
    for group, member in members:
        channels = member.channels.reshape(-1)
        rows = (channels >= 0).nonzero().flatten()
        parts.append((group.name, rows.to(parameter.device), channels[rows].to(parameter.device)))
    return Rows(name, parameter, dim, tuple(parts), groups)
