"""Where the units of a plan lie in a network: weights that hold them, and what goes along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from isoprune.graph import Graph
from isoprune.pruning.grains import read_grain, units_of
from isoprune.types import IsopruneError, Member, Plan
from isoprune.types.network import device_of

Selection = Mapping[str, Tensor]  # units name -> bool [units.shape]


@dataclass(frozen=True)
class UnitParameter:
    """A parameter that holds units; under a mask, what the layer works with.

    ``members`` are the units' names and where they lie; ``groups`` are those of a convolution.
    """

    module: nn.Module
    key: str
    members: tuple[tuple[str, Member], ...]
    groups: int = 1

    @property
    def value(self) -> Tensor:
        return getattr(self.module, self.key)

    @property
    def matrix(self) -> Tensor:
        """The rows that are whole units [n, fan_in]; of a bias or a BatchNorm [n, 1]."""
        value, dim = self.value, self.members[0][1].dims[0]
        return value.movedim(dim, 0).flatten(1) if value.dim() > 1 else value[:, None]

    def where(self, selected: Selection) -> Tensor:
        """Return where the chosen units are, bool, broadcast against ``value``."""
        found = []
        for name, member in self.members:
            units = selected[name]
            if member.unit is None:
                found.append(units)
            else:
                unit = member.unit.to(units.device)
                found.append(units.flatten()[unit.clamp_min(0)] & (unit >= 0))
        return torch.stack(found).any(0)

    def spread(self, numbers: Mapping[str, Tensor]) -> Tensor:
        """Return each unit's number where the unit is, zero elsewhere, broadcast against ``value``."""
        found = []
        for name, member in self.members:
            flat = numbers[name].flatten()
            if member.unit is None:
                found.append(flat.reshape(self.value.shape))
            else:
                unit = member.unit.to(flat.device)
                found.append(flat[unit.clamp_min(0)] * (unit >= 0))
        return torch.stack(found).sum(0)

    def add_to_(self, sums: Mapping[str, Tensor], numbers: Tensor) -> None:
        """Add the numbers of ``value``'s elements up by unit."""
        for name, member in self.members:
            if member.unit is None:
                sums[name].add_(numbers.flatten())
                continue
            unit = member.unit.to(numbers.device).expand(numbers.shape).flatten()
            sums[name].index_add_(0, unit.clamp_min(0), numbers.flatten() * (unit >= 0))

    @torch.no_grad()
    def zero_(self, selected: Selection) -> None:
        """Set the chosen units to zero."""
        chains = getattr(self.module, "parametrizations", {})
        stored = chains[self.key].original if self.key in chains else self.value
        stored.masked_fill_(self.where(selected), 0)


@dataclass(frozen=True)
class Layers:
    """The layers that hold the units of a plan, in the order of the network, each with what goes along.

    ``weights`` are convolutions and Linear layers; ``along`` the biases and BatchNorm weights of the same
    channels, by the place of the weight that they follow; ``goes`` which units go (see `gone`); ``zero`` a
    number of the network's type, on its device.
    """

    weights: tuple[UnitParameter, ...]
    along: tuple[tuple[UnitParameter, ...], ...]
    goes: dict[str, Tensor]
    zero: Tensor

    def total(self, terms: Sequence[Tensor]) -> Tensor:
        """Return the sum of terms, zero of the network's kind if there is none."""
        return sum(terms, self.zero)


def gone(model: nn.Module, graph: Graph, plan: Plan) -> dict[str, Tensor]:
    """Return which units go, on the network's device; channels that go with others or with heads included."""
    device = device_of(model)
    if not read_grain(plan.grain).whole:
        return {name: ~kept.to(device) for name, kept in plan.kept.items()}
    kept = graph.kept_ids(plan).numpy()
    first = np.unique(graph.component, return_index=True)[1]
    # One id stands for its component: they go together.
    masks = {g.name: torch.from_numpy(~kept[first[graph.channels[g.name]]]) for g in graph.groups}
    return {name: mask.to(device) for name, mask in masks.items()}


def layers_of(model: nn.Module, graph: Graph, plan: Plan) -> Layers:
    """Return the layers that hold units of which some go.

    Raises:
        IsopruneError: For a transposed convolution in groups, whose rows are no filters.
    """
    grain = "channel" if plan.grain == "head" else plan.grain
    goes = gone(model, graph, plan)
    losing = {name for name, mask in goes.items() if bool(mask.any())}
    members: dict[str, list[tuple[str, Member]]] = {}
    for units in units_of(graph, grain):
        for member in units.members if units.name in losing else ():
            if grain == "channel" and member.role == "out" and len(member.dims) > 1:
                raise IsopruneError(
                    f"{member.tensor} is a transposed convolution in groups, which no penalty knows. Leave "
                    "it whole by a ratio of 0 for it, or prune in one shot."
                )
            if member.role in ("out", "other") and (grain != "channel" or len(member.dims) == 1):
                members.setdefault(member.tensor, []).append((units.name, member))
    parts = {n: part for n, m in members.items() if (part := _part(model, n, m)) is not None}
    order = [name for name in graph.tensors if name in parts]
    weights = [name for name in order if parts[name].value.dim() > 1]
    along: list[list[UnitParameter]] = [[] for _ in weights]
    for name in order:
        if name not in weights:
            along[_followed(name, weights, order, parts)].append(parts[name])
    dtype = next((p.dtype for p in model.parameters()), None)
    zero = torch.zeros((), dtype=dtype, device=device_of(model))
    return Layers(tuple(parts[name] for name in weights), tuple(map(tuple, along)), goes, zero)


def _followed(name: str, weights: list[str], order: list[str], parts: Mapping[str, UnitParameter]) -> int:
    """Return the last weight of the same channels before a tensor (or the first, if it comes before them)."""
    groups = {group for group, _ in parts[name].members}
    same = [i for i, w in enumerate(weights) if groups & {group for group, _ in parts[w].members}]
    before = [i for i in same if order.index(weights[i]) < order.index(name)]
    return before[-1] if before else same[0]


def _part(model: nn.Module, name: str, members: list[tuple[str, Member]]) -> UnitParameter | None:
    owner, _, key = name.rpartition(".")
    module = model.get_submodule(owner)
    if key in module._buffers:
        return None
    value = getattr(module, key)
    groups = getattr(module, "groups", 1) if value.dim() > 1 else 1
    return UnitParameter(module, key, tuple(members), groups)
