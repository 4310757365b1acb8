"""The ledger of a trace: channel ids, which of them are one, which must stay, which must balance."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from isoprune.graph.labels import Plane, core, first_along, varying

CONSTANT = "(constant)"  # the source of channels that a constant of equal values takes on


@dataclass
class IdBlock:
    """A block of ids: channel ``i`` of dimension ``dim`` of a parameter or buffer is ``first + i``."""

    tensor: str
    dim: int
    first: int
    size: int


@dataclass(frozen=True)
class Grid:
    """Channels [..., columns] of which every row must keep equally many, and the op that asks for it."""

    box: np.ndarray
    where: str
    rows_may_go: bool  # whether some rows may go as a whole


@dataclass
class Ledger:
    """Ids are handed out in blocks; 0 is the id of what can never go."""

    size: int = 1
    sources: list[IdBlock] = field(default_factory=list)
    edges: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    frozen: list[tuple[np.ndarray, str]] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)
    standing: list[np.ndarray] = field(default_factory=list)  # sets that cannot go as a whole
    rows: list[tuple[int, np.ndarray]] = field(default_factory=list)  # row id -> the element ids in it
    links: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)  # may have to balance
    made: set[int] = field(default_factory=set)  # first ids of sources that make channels ("out")
    read: set[int] = field(default_factory=set)  # ... that read channels ("in")
    _seen: set[tuple] = field(default_factory=set)
    _alive: list[Tensor] = field(default_factory=list)  # an address is a key only while its memory lives

    def block(self, tensor: str, dim: int, size: int) -> Tensor:
        """Return ``size`` fresh ids for dimension ``dim`` of ``tensor`` ("" for rows)."""
        ids = torch.arange(self.size, self.size + size)
        self.sources.append(IdBlock(tensor, dim, self.size, size))
        self.size += size
        return ids

    def source(self, channel: int) -> IdBlock | None:
        """Return the block that an id is of."""
        at = bisect_right(self.sources, channel, key=lambda s: s.first) - 1
        return self.sources[at] if at >= 0 else None

    def tensor_of(self, planes: Sequence[Plane]) -> str | None:
        """Return the parameter or buffer whose channels all of these are, if it is one."""
        found = {s.tensor for p in planes if (s := self.source(int(p.ids.flatten()[0]))) is not None}
        return found.pop() if len(found) == 1 and found.isdisjoint({"", CONSTANT}) else None

    def unify(self, a: Tensor, b: Tensor, where: str) -> None:
        """Unify the channels of ``a`` and ``b``, element by element: they can only go together."""
        if a.shape != b.shape:
            a, b = torch.broadcast_tensors(a, b)
        both = {*varying(a), *varying(b)}
        a, b = core(a, both), core(b, both)
        key = (a.data_ptr(), a.stride(), b.data_ptr(), b.stride(), tuple(a.shape))
        if key[:2] == key[2:4] or key in self._seen:
            return
        self._seen.add(key)
        self._alive += [a, b]
        one, other = a.reshape(-1).numpy(), b.reshape(-1).numpy()
        if not (one.all() and other.all()):
            both_go = (one != 0) & (other != 0)
            loose = (one != 0) != (other != 0)
            self.frozen.append((np.maximum(one, other)[loose], f"{where} meets values that cannot go"))
            one, other = one[both_go], other[both_go]
        self.edges.append((one, other))

    def tie(self, plane: Plane, dims: Iterable[int], where: str) -> Plane:
        """Unify the channels along ``dims``; return the plane that is constant along them."""
        ids = first_along(plane.ids, dims).expand(plane.ids.shape)
        self.unify(ids, plane.ids, where)
        return Plane(ids, plane.row)

    def freeze(self, planes: Sequence[Plane] | Tensor, reason: str) -> None:
        """Record that these channels must stay, and why."""
        for ids in [planes] if isinstance(planes, Tensor) else [p.ids for p in planes]:
            self.frozen.append((core(ids).reshape(-1).numpy(), reason))

    def is_frozen(self, plane: Plane) -> bool:
        """Tell whether a channel of the plane is known to stay so far (ties to others aside)."""
        ids = plane.core.reshape(-1).numpy()
        return any(np.isin(ids, stuck).all() for stuck, _ in self.frozen)

    def grid(self, box: Tensor, where: str, *, every_row: bool = False, rows_may_go: bool = False) -> None:
        """Record that every row of ``box`` [..., columns] must keep equally many channels.

        With ``every_row`` (the groups of a convolution or norm) none may go as a whole; with
        ``rows_may_go`` (heads, the channels of a view) those that are left must balance.
        """
        if every_row:
            self.standing += [row.unique().numpy() for row in box]
        if box.numel() > box.size(-1) > 0:
            self.grids.append(Grid(box.numpy(), where, rows_may_go))

    def row_ids(self, box: Tensor) -> Tensor:
        """Return fresh ids for the rows of ``box`` [rows, ...]: a row goes when all its channels go.

        Rows of the same channels (a batch folded into the heads) have one id.
        """
        members = [np.unique(row.numpy()) for row in box]
        first: dict[bytes, int] = {}
        place = [first.setdefault(m.tobytes(), len(first)) for m in members]
        ids = self.block("", 0, len(first))
        self.rows += {int(ids[i]): (int(ids[i]), m) for i, m in zip(place, members, strict=True)}.values()
        return ids[place]

    def components(self) -> tuple[np.ndarray, int]:
        """Return the component of every id, and their number.

        A row whose channels can only go together is one with them.
        """
        component, count = self._connected(self.edges)
        edges, left = list(self.edges), self.rows
        while left:
            alone = [(row, m) for row, m in left if (component[m] == component[m[0]]).all()]
            if not alone:
                break
            left = [(row, m) for row, m in left if not (component[m] == component[m[0]]).all()]
            edges.append((np.array([row for row, _ in alone]), np.array([m[0] for _, m in alone])))
            component, count = self._connected(edges)
        return component, count

    def _connected(self, edges: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, int]:
        if not edges:
            return np.arange(self.size), self.size
        a, b = (np.concatenate(side) for side in zip(*edges, strict=True))
        joined = coo_array((np.ones(len(a), dtype=np.int8), (a, b)), shape=(self.size, self.size))
        count, component = connected_components(joined, directed=False)
        return component, int(count)

    def frozen_components(self, component: np.ndarray) -> np.ndarray:
        """Return, for every component, whether something in it must stay (bool)."""
        stuck = np.zeros(int(component.max()) + 1, dtype=bool)
        stuck[component[0]] = True
        for ids, _ in self.frozen:
            stuck[component[ids]] = True
        return stuck
