"""Label planes: which channel every element of a tensor belongs to.

A tensor carries a few *planes*. A plane is an integer tensor of the tensor's own shape; its entries
are channel ids, 0 where an element belongs to no channel that could go. An element goes when any of
its planes says so. Planes are kept lazily expanded (stride 0 along every dimension on which they are
constant), so the plane of a [1, 64, 224, 224] activation holds 64 numbers and shape operations on it
cost nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Plane:
    """Channel ids of every element. ``row`` marks the ids of whole rows of a grid (attention heads)."""

    ids: Tensor
    row: bool = False

    @cached_property
    def dims(self) -> tuple[int, ...]:
        """The dimensions along which ids differ."""
        return varying(self.ids)

    @cached_property
    def core(self) -> Tensor:
        """The ids cut to length 1 along all other dimensions."""
        return core(self.ids)


Planes = tuple[Plane, ...]


def varying(ids: Tensor) -> tuple[int, ...]:
    """Return the dimensions along which compressed ``ids`` are not constant."""
    return tuple(d for d, (n, s) in enumerate(zip(ids.shape, ids.stride(), strict=True)) if n > 1 and s != 0)


def compress(ids: Tensor) -> Tensor:
    """Return equal ids with stride 0 along every dimension on which they are constant, in little memory."""
    shape, whole = ids.shape, core(ids)
    ids = whole
    for d in varying(ids):
        first = ids.narrow(d, 0, 1)
        if bool((ids == first).all()):
            ids = first
    # A part of them would keep the memory of all: heads [batch * heads] that of [batch * heads, n, n].
    return (ids if ids is whole else ids.clone()).expand(shape)


def core(ids: Tensor, keep: Collection[int] = ()) -> Tensor:
    """Return ``ids`` cut to length 1 along the dimensions on which they are constant."""
    sizes, strides = ids.shape, ids.stride()
    cut = [1 if s == 0 and d not in keep else n for d, (n, s) in enumerate(zip(sizes, strides, strict=True))]
    return ids.as_strided(cut, strides) if cut != list(sizes) else ids


def first_along(ids: Tensor, dims: Iterable[int]) -> Tensor:
    """Return ``ids`` cut to length 1 along ``dims``: the first ones."""
    for d in dims:
        ids = ids.narrow(d, 0, 1)
    return ids


def spread(ids: Tensor, shape: Sequence[int], dims: Sequence[int]) -> Tensor:
    """Lay dimension i of ``ids`` along ``dims[i]`` of a tensor of ``shape``, constant elsewhere."""
    view = [1] * len(shape)
    order = sorted(range(len(dims)), key=lambda i: dims[i])
    for i, d in enumerate(dims):
        view[d] = ids.size(i)
    return ids.permute(order).reshape(view).expand(tuple(shape))


def broadcast(plane: Plane, shape: Sequence[int]) -> Plane:
    """Return the plane as it lies in a broadcast of its tensor to ``shape``."""
    if tuple(plane.ids.shape) == tuple(shape):
        return plane
    return Plane(plane.ids.expand(tuple(shape)), plane.row)


def distinct(planes: Iterable[Plane]) -> Planes:
    """Drop constant planes, doubles on the same dimensions, and rows that element planes already cover."""
    kept: dict[tuple[tuple[int, ...], bool], Plane] = {}
    for plane in planes:
        dims = plane.dims
        if dims:
            kept.setdefault((dims, plane.row), plane)
    covered = {dims for dims, row in kept if not row}
    return tuple(p for (dims, row), p in kept.items() if not (row and dims in covered))


def box_size(planes: Planes, shape: Sequence[int], kept: Tensor) -> tuple[int, ...]:
    """Return the shape that is left when the channels that are not ``kept`` (bool per id) have gone.

    A plane on several dimensions (heads x width) may keep other widths in each head, as long as it
    keeps equally many: leading dimensions count their non-empty rows, the last one what a row keeps.
    """
    size = list(shape)
    rows = {p.dims[0] for p in planes if p.row and len(p.dims) == 1}
    alone: dict[int, Tensor] = {}
    for plane in planes:
        dims = plane.dims
        left = kept[plane.core]
        if len(dims) <= 1:
            for d in dims:
                alone[d] = alone[d] & left if d in alone else left
            continue
        total = int(left.sum())
        leading = _leading(dims, rows)
        for d in leading:
            others = [e for e in dims if e != d]
            support = int(left.amax(dim=others).sum()) if total else 0
            size[d] = min(size[d], support)
            total = total // support if support else 0
        (last,) = [d for d in dims if d not in leading]
        size[last] = min(size[last], total)
    for d, left in alone.items():
        size[d] = min(size[d], int(left.sum()))
    return tuple(size)


def _leading(dims: tuple[int, ...], rows: Collection[int]) -> list[int]:
    """Return the dimensions of a grid that count its rows; the other one counts what a row keeps."""
    leading = [d for d in dims if d in rows]
    return leading if len(leading) == len(dims) - 1 else list(dims[:-1])


def rows_first(planes: Planes, dims: int) -> list[int]:
    """Return the order of dimensions in which what rows keep lies together: columns behind rows."""
    rows = {p.dims[0] for p in planes if p.row and len(p.dims) == 1}
    grids = [p.dims for p in planes if len(p.dims) > 1]
    columns = {d for g in grids for d in g} - {d for g in grids for d in _leading(g, rows)}
    return sorted(range(dims), key=lambda d: d in columns)


def keep_mask(planes: Planes, kept: Tensor) -> Tensor | None:
    """Return a bool tensor, broadcastable to the planes' shape, of the elements that stay; None if all do."""
    mask: Tensor | None = None
    for plane in planes:
        left = kept[plane.core]
        if not bool(left.all()):
            mask = left if mask is None else mask & left
    return mask


def restrict(tensor: Tensor, planes: Planes, kept: Tensor) -> Tensor:
    """Return the box of ``tensor``'s elements that stay, in their order; a new tensor if any went."""
    if all(len(p.dims) == 1 for p in planes):  # the usual case, and by far the fastest
        index: dict[int, Tensor] = {}
        for dim in sorted({p.dims[0] for p in planes}):
            left = torch.stack([kept[p.core.reshape(-1)] for p in planes if p.dims[0] == dim]).all(0)
            if not bool(left.all()):
                index[dim] = left.nonzero().flatten().to(tensor.device)
        return _take(tensor, index)
    mask = keep_mask(planes, kept)
    if mask is None:
        return tensor
    order = rows_first(planes, tensor.dim())
    size = box_size(planes, tensor.shape, kept)
    chosen = tensor.permute(order)[mask.expand(tensor.shape).permute(order).to(tensor.device)]
    return chosen.reshape([size[d] for d in order]).permute([order.index(d) for d in range(len(order))])


_BLOCK = 1 << 20  # elements that a cache holds


def _take(tensor: Tensor, index: Mapping[int, Tensor]) -> Tensor:
    """Return the positions ``index`` along each dimension; large weights block by block, in cache."""
    if tuple(index) == (0, 1) and tensor.numel() > _BLOCK and not tensor.requires_grad:
        rows, columns = index[0], index[1]
        out = tensor.new_empty((len(rows), len(columns), *tensor.shape[2:]))
        step = max(1, _BLOCK // tensor[0].numel())
        for i in range(0, len(rows), step):
            block = tensor.index_select(0, rows[i : i + step])
            torch.index_select(block, 1, columns, out=out[i : i + step])
        return out
    for dim, chosen in index.items():
        tensor = tensor.index_select(dim, chosen)
    return tensor


def tidy(planes: Iterable[Plane]) -> Planes:
    """Compress freshly materialised planes and drop what became constant."""
    return distinct(Plane(compress(p.ids), p.row) for p in planes)
