"""Sets of channels that must keep equally many: grids, chunks, groups, sizes that one attribute gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from isoprune.graph.ledger import Grid
from isoprune.graph.sizes import SizeClaim


@dataclass(frozen=True)
class Constraint:
    """Sets of channels (component numbers) that must all keep equally many, and the op that asks for it."""

    sets: tuple[np.ndarray, ...]
    where: str


def balanced(grids: Iterable[Grid], component: np.ndarray) -> tuple[Constraint, ...]:
    """Return the grids in terms of components, each only once."""
    seen: set[tuple[int, bytes]] = set()
    out = []
    for grid in grids:
        rows = _rows(component[grid.box], grid.rows_may_go)
        rows = rows[np.sort(np.unique(rows, axis=0, return_index=True)[1])]
        # The rows as a set of sets; their width belongs to it, for the same channels may be cut in two ways.
        key = rows.shape[1], np.unique(np.sort(rows, axis=1), axis=0).tobytes()
        if len(rows) > 1 and key not in seen:
            seen.add(key)
            out.append(Constraint(tuple(rows), grid.where))
    return tuple(out)


def _rows(box: np.ndarray, may_go: bool) -> np.ndarray:
    """Return the rows that must balance; a row that is one channel, of several filters, goes or stays whole.

    Of [C, H, W] in which the H x W filters of a channel are one, nothing is left to balance.
    """
    while may_go and box.ndim > 1 and (box == box[..., :1]).all():
        box = box[..., 0]
    return box.reshape(-1, box.shape[-1])


def possible(
    links: Sequence[tuple[np.ndarray, np.ndarray]], claims: Sequence[SizeClaim], component: np.ndarray
) -> tuple[Constraint, ...]:
    """Return the constraints that a forward may or may not ask for."""
    reads = "a view whose sizes are the width of its input"
    linked = tuple(Constraint((component[a], component[b]), reads) for a, b in links)
    return (*linked, *_sized_alike(claims, component))


def _sized_alike(claims: Sequence[SizeClaim], component: np.ndarray) -> Iterator[Constraint]:
    """Yield, per attribute that gave several tensors their size, the rows that must keep equally many."""
    by_size: dict[tuple, list[np.ndarray]] = {}
    for claim in claims:
        if claim.partner is not None:
            continue
        key = claim.module, claim.attribute, claim.factor
        for plane in claim.planes:
            if not plane.row and plane.dims and plane.dims[-1] == claim.dim:
                ids = plane.core.reshape(-1, claim.shape[claim.dim])
                by_size.setdefault(key, []).extend(component[ids.numpy()])
    for (module, attribute, _), rows in by_size.items():
        distinct = {np.sort(row).tobytes(): row for row in rows} if len(rows) > 1 else {}
        if len(distinct) > 1:
            yield Constraint(tuple(distinct.values()), f"{attribute} of {module or 'the network'}")
