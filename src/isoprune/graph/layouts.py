"""How the channels of a parameter lie in it: along each dimension for itself, or along several as a grid.

A parameter [heads, width] that is added to heads of that width has a channel an element, of which each head
may keep others. Which parameters are of this kind is only seen where they are used: the operation wishes for
a layout, and the forward is recorded anew with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isoprune.graph.labels import Plane, Planes, core, spread
from isoprune.graph.ledger import Ledger


@dataclass(frozen=True)
class Layout:
    """Channels along several dimensions of a parameter.

    ``pattern`` [as the parameter, 1 where it is constant] numbers them. ``rows``: the dimensions that count
    rows (heads), which may go as a whole; without, all dimensions but the last have channels of their own.
    """

    pattern: Tensor
    rows: tuple[int, ...] = ()

    @property
    def dims(self) -> tuple[int, ...]:
        return tuple(d for d, n in enumerate(self.pattern.shape) if n > 1)


def of_elements(shape: Sequence[int], dims: Sequence[int], rows: Sequence[int]) -> Layout:
    """Return the layout in which every position along ``dims`` is a channel."""
    size = [n if d in dims else 1 for d, n in enumerate(shape)]
    return Layout(torch.arange(torch.Size(size).numel()).reshape(size), tuple(rows))


def of_groups(shape: Sequence[int], groups: int) -> Layout:
    """Return the layout of a grouped convolution's weight: dimension 1 counts anew in every group of rows."""
    group = torch.arange(shape[0]) // (shape[0] // groups)
    pattern = group[:, None] * shape[1] + torch.arange(shape[1])
    return Layout(pattern.reshape(shape[0], shape[1], *(1,) * (len(shape) - 2)))


def fresh(ledger: Ledger, name: str, shape: Sequence[int], layout: Layout | None) -> Planes:
    """Return fresh channels for a parameter or buffer of this name and shape."""
    grid = set(layout.dims) if layout and layout.rows else {max(layout.dims)} if layout else set()
    planes = [
        Plane(spread(ledger.block(name, d, n), shape, (d,)))
        for d, n in enumerate(shape)
        if n > 1 and d not in grid
    ]
    if layout is None:
        return tuple(planes)
    dim = layout.dims[0] if layout.rows else layout.dims[-1]
    ids = ledger.block(name, dim, int(layout.pattern.max()) + 1)[layout.pattern].expand(tuple(shape))
    grid = Plane(ids)
    return (grid, *planes, *rows_of(ledger, grid, layout.rows, name)) if layout.rows else (grid, *planes)


def rows_of(ledger: Ledger, plane: Plane, dims: Sequence[int], where: str) -> list[Plane]:
    """Enter the grid of a plane and return the planes of its rows, one for each of ``dims``."""
    order = sorted(plane.dims, key=lambda d: d not in dims)
    box = core(plane.ids).permute(*order, *(d for d in range(plane.ids.dim()) if d not in order))
    box = box.reshape([plane.ids.size(d) for d in order])
    ledger.grid(box, where, rows_may_go=True)
    planes = []
    for axis, dim in enumerate(order[:-1]):
        ids = ledger.row_ids(box.movedim(axis, 0).reshape(box.size(axis), -1))
        size = [len(ids) if d == dim else 1 for d in range(plane.ids.dim())]
        planes.append(Plane(ids.reshape(size).expand(plane.ids.shape), row=True))
    return planes
