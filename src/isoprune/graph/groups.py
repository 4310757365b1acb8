"""Connected ids -> groups, the grids that a plan must keep, and what is frozen and why."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isoprune.graph.constraints import Constraint, balanced, possible
from isoprune.graph.labels import Plane
from isoprune.graph.ledger import IdBlock, Ledger
from isoprune.graph.recording import Node, Recording, Tensors
from isoprune.types import Frozen, IsopruneError, Member, Plan, Units
from isoprune.types.shown import screenful, shown
from isoprune.types.units import layer_of

Roles = Mapping[tuple[str, int], str]  # what a dimension of a tensor does with its channels
ALONE = "all that is used like this can only go as one, and none would be left"


@shown
@dataclass(frozen=True, repr=False)
class Graph:
    """What a trace found: groups of channels, whole rows (attention heads), constraints, frozen channels.

    ``groups`` are channels that can go one by one within ``constraints``; ``heads`` are whole rows of
    grids, each channel of such a group being a head. Removing heads removes their channels in ``groups``.
    """

    groups: tuple[Units, ...]
    heads: tuple[Units, ...]
    frozen: tuple[Frozen, ...]
    constraints: tuple[Constraint, ...]
    links: tuple[Constraint, ...]  # constraints that a forward may or may not ask for
    # How it was found: keyed by the addresses of tensors, which are others in every trace.
    recording: Recording = field(compare=False)
    ledger: Ledger = field(compare=False)
    component: np.ndarray  # of every id
    channels: Mapping[str, np.ndarray]  # group name -> the component of each channel

    def __str__(self) -> str:
        channels, stay = sum(group.size for group in self.groups), len(self.frozen)
        tensors = "1 tensor keeps" if stay == 1 else f"{stay} tensors keep"
        rows = [f"{group.name}  {group.size:,} {group.grain}s" for group in (*self.groups, *self.heads)]
        rows += [f"stays: {f.tensor}, {f.channels:,} channels ({f.reason})" for f in self.frozen]
        counts = f"{channels:,} channels can go, in {len(self.groups)} groups; {tensors} all"
        return screenful(f"Graph: {counts}", rows, "graph.groups, graph.heads and graph.frozen")

    def group(self, name: str) -> Units:
        for group in (*self.groups, *self.heads):
            if group.name == name:
                return group
        raise IsopruneError(f"No group named '{name}'. Known: {', '.join(g.name for g in self.groups)}.")

    @property
    def tensors(self) -> Tensors:
        return self.recording.tensors

    @property
    def nodes(self) -> Sequence[Node]:
        return self.recording.nodes

    @cached_property
    def _rows(self) -> list[tuple[int, np.ndarray]]:
        """Component of every row and the components of its channels."""
        return [(int(self.component[row]), self.component[m]) for row, m in self.ledger.rows]

    def removing(self, removed: Mapping[str, Sequence[int]], **request: Any) -> Plan:
        """Return the plan without these channels (or whole heads), by the names of groups."""
        shapes = {g.name: g.shape for g in (*self.groups, *self.heads)}
        return Plan.removing(removed, shapes, request=request)

    def kept_ids(self, plan: Plan) -> Tensor:
        """Return, for every channel id, whether it stays (bool [ids])."""
        gone = np.zeros(int(self.component.max()) + 1, dtype=bool)
        names = {g.name for g in self.heads}
        for name, channels in plan.removed.items():
            self.group(name)
            chosen = self.channels[name][np.asarray(channels, dtype=np.int64)]
            gone[chosen] = True
            if name in names:
                whole = set(chosen.tolist())
                for row, members in self._rows:
                    if row in whole:
                        gone[members] = True
        empty: dict[int, bool] = {}
        for row, members in self._rows:
            empty[row] = empty.get(row, True) and bool(gone[members].all())
        for row, all_gone in empty.items():
            gone[row] |= all_gone
        kept = ~gone[self.component]
        kept[0] = True
        return torch.from_numpy(kept)

    @cached_property
    def roles(self) -> Roles:
        """What a dimension of a tensor does with channels: "out" makes, "in" reads, "other" goes along."""
        return _roles(self.ledger)

    def role(self, tensor: str, plane: Plane) -> str:
        """What a tensor does with the channels of one of its planes."""
        return _role(self.roles, self.ledger, tensor, plane)

    def ids_of(self, name: str) -> np.ndarray:
        """Return every id of a group's channels."""
        return np.flatnonzero(np.isin(self.component, self.channels[name]))

    def refreeze(self, ids: np.ndarray, reason: str) -> Graph:
        """Return the graph with these ids frozen too."""
        self.ledger.frozen.append((ids, reason))
        return build(self.recording, self.ledger)


def build(recording: Recording, ledger: Ledger) -> Graph:
    """Return the graph of a finished ledger."""
    tensors = recording.tensors
    component, count = ledger.components()
    reasons: dict[int, str] = {}
    for ids, reason in ledger.frozen:
        for c in np.unique(component[ids]).tolist():
            reasons.setdefault(c, reason)
    reasons.setdefault(int(component[0]), "values that cannot go")
    stuck = np.zeros(count, dtype=bool)
    stuck[list(reasons)] = True
    is_row = np.zeros(count, dtype=bool)
    apart = [row for row, m in ledger.rows if (component[m] != component[row]).any()]
    is_row[component[apart]] = True
    stuck_rows = stuck.copy()
    standing = [frozenset(component[ids].tolist()) for ids in ledger.standing]
    for row, members in ledger.rows:
        parts = frozenset(component[members].tolist())
        whole = any(parts >= held for held in standing)
        stuck_rows[component[row]] |= whole or bool(stuck[component[members]].any())
    signature = _signatures(component, count, tensors)
    roles = _roles(ledger)
    find = partial(_collect, component=component, ledger=ledger, tensors=tensors, roles=roles)
    free = ~stuck & ~is_row & (signature != 0)
    elements = find("channel", signature, free)
    heads = find("head", _row_blocks(ledger, component, count), ~stuck_rows & is_row)
    alone = np.setdiff1d(np.flatnonzero(free), np.concatenate([[0], *(c for _, c in elements)]))
    reasons |= dict.fromkeys(alone.tolist(), ALONE)
    stuck[alone] = True
    return Graph(
        groups=tuple(g for g, _ in elements if any(m.role == "out" for m in g.members)),
        heads=tuple(g for g, _ in heads),
        frozen=_frozen(ledger, component, stuck, reasons, roles),
        constraints=balanced(ledger.grids, component),
        links=possible(ledger.links, recording.claims, component),
        recording=recording,
        ledger=ledger,
        component=component,
        channels={g.name: c for g, c in [*elements, *heads]},
    )


def _signatures(component: np.ndarray, count: int, tensors: Tensors) -> np.ndarray:
    """Return a hash per component of how often it occurs in which plane of which tensor; 0: nowhere."""
    random = np.random.default_rng(0)
    signature = np.zeros(count, dtype=np.uint64)
    planes = [plane for planes, _ in tensors.values() for plane in planes]
    for plane, key in zip(planes, random.integers(1, 2**63, len(planes), dtype=np.uint64), strict=True):
        np.add.at(signature, component[plane.core.reshape(-1).numpy()], key)
    return signature


def _row_blocks(ledger: Ledger, component: np.ndarray, count: int) -> np.ndarray:
    """Return, per component, the first block of rows it is part of: rows of one block make one group."""
    block = np.zeros(count, dtype=np.uint64)
    for source in reversed([s for s in ledger.sources if not s.tensor]):
        block[component[source.first : source.first + source.size]] = source.first
    return block


def _row_tensors(ledger: Ledger, component: np.ndarray, roles: Roles) -> dict[int, str]:
    """Return, per component of rows, the tensor of the channels of the first such row that a layer makes."""
    tensors: dict[int, tuple[bool, str]] = {}
    for row, members in ledger.rows:
        if (source := ledger.source(int(members[0]))) is not None:
            goes_along = roles.get((source.tensor, source.dim)) != "out"
            if goes_along < tensors.get(int(component[row]), (2, ""))[0]:
                tensors[int(component[row])] = goes_along, source.tensor
    return {part: tensor for part, (_, tensor) in tensors.items()}


def _collect(
    grain: str,
    signature: np.ndarray,
    eligible: np.ndarray,
    *,
    component: np.ndarray,
    ledger: Ledger,
    tensors: Tensors,
    roles: Roles,
) -> list[tuple[Units, np.ndarray]]:
    """Gather eligible components of one signature, in order of their first id, into named groups."""
    chosen = np.flatnonzero(eligible)
    if not len(chosen):
        return []
    # The first id of every component; of equal indices, the last assignment stays.
    first = np.empty(len(eligible), dtype=np.int64)
    first[component[::-1]] = np.arange(len(component))[::-1]
    chosen = chosen[np.argsort(first[chosen], kind="stable")]
    _, place, alike = np.unique(signature[chosen], return_index=True, return_inverse=True)
    by_signature = np.split(chosen[np.argsort(alike, kind="stable")], np.cumsum(np.bincount(alike))[:-1])
    where = np.full(len(first), -1, dtype=np.int64)
    owner = np.full(len(first), -1, dtype=np.int64)
    sets = [by_signature[i] for i in np.argsort(place) if len(by_signature[i]) > 1]
    for number, channels in enumerate(sets):
        where[channels], owner[channels] = np.arange(len(channels)), number
    members: list[list[Member]] = [[] for _ in sets]
    for name, (planes, _) in tensors.items():
        for plane in planes:
            parts = component[plane.core.numpy()]
            owners = owner[parts]
            for number in _distinct(owners):
                if number >= 0:
                    channels = torch.from_numpy(np.where(owners == number, where[parts], -1))
                    role = _role(roles, ledger, name, plane)
                    members[number].append(Member(name, plane.dims, role, channels))
    of_row = _row_tensors(ledger, component, roles)
    names: dict[str, int] = {}
    groups = []
    for number, channels in enumerate(sets):
        made = [m.tensor for m in members[number] if m.role == "out"]
        row = of_row.get(int(channels[0]))
        tensor = next(iter([*made, *([row] if row else []), *(m.tensor for m in members[number])]), "rows")
        base = layer_of(tensor) + (".heads" if grain == "head" else "")
        names[base] = names.get(base, 0) + 1
        name = base if names[base] == 1 else f"{base}:{names[base]}"
        groups.append((Units(name, grain, (len(channels),), tuple(members[number])), channels))
    return groups


def _distinct(numbers: np.ndarray) -> list[int]:
    """Return which numbers there are, in order; most often there is one."""
    first = numbers.flat[0]
    return [int(first)] if (numbers == first).all() else np.unique(numbers).tolist()


def _roles(ledger: Ledger) -> Roles:
    """Return what a dimension of a tensor does with its channels: makes them, reads them, or goes along."""
    made, read = (sorted(ids) for ids in (ledger.made, ledger.read))

    def touched(source: IdBlock, ids: list[int]) -> bool:
        at = bisect_left(ids, source.first)
        return at < len(ids) and ids[at] < source.first + source.size

    return {
        (s.tensor, s.dim): "out" if touched(s, made) else "in" if touched(s, read) else "other"
        for s in ledger.sources
        if s.tensor
    }


def _role(roles: Roles, ledger: Ledger, tensor: str, plane: Plane) -> str:
    if len(plane.dims) == 1:
        return roles.get((tensor, plane.dims[0]), "other")
    # Channels of other tensors: a grouped convolution reads them, anew in every group of its filters.
    source = ledger.source(int(plane.ids.flatten()[0]))
    return roles[tensor, source.dim] if source is not None and source.tensor == tensor else "in"


def _frozen(
    ledger: Ledger,
    component: np.ndarray,
    stuck: np.ndarray,
    reasons: Mapping[int, str],
    roles: Roles,
) -> tuple[Frozen, ...]:
    out = []
    for s in ledger.sources:
        if roles.get((s.tensor, s.dim)) != "out":
            continue
        parts = component[s.first : s.first + s.size]
        held = parts[stuck[parts]]
        for reason in dict.fromkeys(reasons[c] for c in held.tolist()):
            number = sum(reasons[c] == reason for c in held.tolist())
            out.append(Frozen(s.tensor, s.dim, number, reason))
    return tuple(out)
