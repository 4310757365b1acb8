"""Operations that move elements: the same operation runs on the labels.

Only two things need care. A view that splits a dimension of channels (heads x width) leaves a grid:
every row must keep equally many. And what can be selected by position only must stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from isoprune.graph.labels import Plane, Planes, compress, distinct, first_along, tidy
from isoprune.graph.layouts import rows_of
from isoprune.graph.rules.pointwise import join

if TYPE_CHECKING:
    from isoprune.graph.call import Call
    from isoprune.graph.tracer import Tracer


def relabel(call: Call, function: Any, plane: Plane) -> list[Tensor]:
    """Return what ``function`` makes of a plane when it stands where its tensor stood."""
    source = call.tensors[0]
    args = [plane.ids if a is source else a for a in call.args]
    return [o for o in tree_flatten(function(*args, **call.kwargs))[0] if isinstance(o, Tensor)]


def move(tracer: Tracer, call: Call) -> list[Planes]:
    """Permute, slice, expand, roll, flip, index, ...: run the operation on every plane."""
    function = getattr(torch.ops.aten, call.op.rstrip("_"))  # labels are moved, never written to
    results: list[list[Plane]] = [[] for _ in call.outs]
    for plane in tracer.planes(call.tensors[0]):
        moved = relabel(call, function, plane)
        for i, ids in enumerate(moved):
            results[i].append(Plane(ids, plane.row))
    return settle(tracer, call, results)


def settle(tracer: Tracer, call: Call, results: list[list[Plane]]) -> list[Planes]:
    """Freeze what became constant: it was picked by its position, and positions must not shift."""
    out = []
    for planes in results:
        tidied = [Plane(compress(p.ids), p.row) for p in planes]
        tracer.ledger.freeze([p for p in tidied if not p.dims], f"{call.where} picks it by position")
        out.append(distinct(tidied))
    return out


def view(tracer: Tracer, call: Call) -> list[Planes]:
    """A reshape: a dimension of channels that is split becomes a grid with rows of its own."""
    shape = tuple(call.outs[0].shape)
    planes: list[Plane] = []
    # Innermost first: flattened with heads, it is their width that goes on.
    given = tuple(sorted(tracer.planes(call.tensors[0]), key=lambda p: p.dims, reverse=True))
    for plane in given:
        plane = untangled(tracer, call, plane, given, shape)
        laid = Plane(compress(plane.ids.reshape(shape)), plane.row)
        planes.append(laid)
        if not plane.row and len(laid.dims) > len(plane.dims):
            planes += split_rows(tracer, call, laid, laid.core.squeeze())
    return [tidy(unmixed(tracer, call, planes))]


def unmixed(tracer: Tracer, call: Call, planes: list[Plane]) -> list[Plane]:
    """Keep one of several planes that a flattening lays on the same dimensions; the others stay whole.

    (Channels and positions that both have ids, flattened into one: only one of the two can be cut.)
    """
    by_dims: dict[tuple[int, ...], list[Plane]] = {}
    for plane in planes:
        if not plane.row:
            by_dims.setdefault(Plane(compress(plane.ids)).dims, []).append(plane)
    lost: list[Plane] = []
    for together in by_dims.values():
        if len(together) > 1:
            # The finest that can still go: channels of a head rather than the head.
            together.sort(key=lambda p: (tracer.ledger.is_frozen(p), -p.core.unique().numel()))
            lost += together[1:]
    tracer.ledger.freeze(lost, f"{call.where} mixes it with other channels")
    return [p for p in planes if not any(p is q for q in lost)]


def untangled(tracer: Tracer, call: Call, plane: Plane, others: Planes, shape: tuple[int, ...]) -> Plane:
    """Tie the columns of a grid that is flattened with its rows innermost (a channel shuffle).

    Each row may keep other columns as long as rows lie one after the other; interleaved, the i-th kept
    of one row would stand beside the i-th kept of another, so only equal columns can go together.
    """
    if plane.row or len(plane.dims) < 2:
        return plane
    rows = {p.dims[0] for p in others if p.row and len(p.dims) == 1}
    columns = [d for d in plane.dims if d not in rows] or [plane.dims[-1]]
    inner = [d for d in plane.dims if d > min(columns) and d in rows]
    if not inner or len(tidy([Plane(plane.ids.reshape(shape))])[0].dims) >= len(plane.dims):
        return plane
    tracer.ledger.tie(plane, inner, call.where)
    return plane


def split_rows(tracer: Tracer, call: Call, plane: Plane, box: Tensor) -> list[Plane]:
    """Enter the grid of a split plane and return the planes of its rows, one a leading dimension."""
    columns = box.size(-1)
    rows = rows_of(tracer.ledger, plane, plane.dims[:-1], call.where)
    read = tracer.readers.get(int(box.flatten()[0]))
    if read is not None and box.numel() % read.numel() == 0 and read.numel() % columns == 0:
        for chunk in box.reshape(-1, read.numel()):
            tracer.ledger.links.append((read.numpy(), chunk.numpy()))
    return rows


def cut(tracer: Tracer, call: Call) -> list[Planes]:
    """Split, chunk, slice: pieces of equal length of a dimension of channels keep equally many."""
    out = move(tracer, call)
    source = call.tensors[0]
    for plane in tracer.planes(source):
        before, after = source.shape, call.outs[0].shape
        for d in plane.dims:
            if after[d] and before[d] != after[d] and before[d] % after[d] == 0 and not plane.row:
                box = plane.core.movedim(d, -1)
                tracer.ledger.grid(box.reshape(-1, after[d]), call.where)
    return out


def glu(tracer: Tracer, call: Call) -> list[Planes]:
    """Gated linear unit: the second half of the channels gates the first, so the two go together."""
    dim = (call.args[1] if len(call.args) > 1 else -1) % call.tensors[0].dim()
    planes = []
    for p in tracer.planes(call.tensors[0]):
        first, second = p.ids.chunk(2, dim)
        tracer.ledger.unify(first, second, call.where)
        planes.append(Plane(first, p.row))
    return settle(tracer, call, [planes])


def cat(tracer: Tracer, call: Call) -> list[Planes]:
    """Concatenate: channels stand side by side along the dimension, and must agree along the others."""
    tensors = [t for t in call.tensors if t.dim() > 1 or t.numel()]
    dim = call.args[1] if len(call.args) > 1 else call.kwargs.get("dim", 0)
    dim %= call.outs[0].dim()
    if not tensors:
        return [()]
    return [join_along(tracer, call, [(tracer.planes(t), t.shape) for t in tensors], dim)]


def stack(tracer: Tracer, call: Call) -> list[Planes]:
    dim = call.args[1] if len(call.args) > 1 else call.kwargs.get("dim", 0)
    dim %= call.outs[0].dim()
    laid = []
    for t in call.tensors:
        planes = tuple(Plane(p.ids.unsqueeze(dim), p.row) for p in tracer.planes(t))
        laid.append((planes, t.unsqueeze(dim).shape))
    return [join_along(tracer, call, laid, dim)]


def join_along(tracer: Tracer, call: Call, parts: list[tuple[Planes, Any]], dim: int) -> Planes:
    shape = tuple(call.outs[0].shape)
    parts = [part for part in parts if 0 not in part[1]]  # an empty part adds nothing
    if not parts:
        return ()
    across = []
    for planes, size in parts:  # what varies along other dimensions only must agree in all parts
        others = tuple(p for p in planes if dim not in p.dims)
        wide = tuple(Plane(p.ids.narrow(dim, 0, 1).expand(shape), p.row) for p in others)
        flat = tuple(1 if d == dim else n for d, n in enumerate(size))
        across.append((wide, tuple(n if d != dim else shape[d] for d, n in enumerate(flat))))
    result = list(join(tracer, across, shape, call.where))
    along = [[p for p in planes if dim in p.dims and len(p.dims) == 1] for planes, _ in parts]
    for planes, _ in parts:
        mixed = [p for p in planes if dim in p.dims and len(p.dims) > 1]
        if mixed and not _same_dims(parts, dim):
            tracer.ledger.freeze(mixed, f"{call.where} joins grids")
    if any(along):
        pieces = []
        for planes, (_, size) in zip(along, parts, strict=True):
            ids = planes[0].ids if planes else torch.zeros((), dtype=torch.int64)
            index = tuple(slice(None) if d == dim else 0 for d in range(len(size)))
            pieces.append(ids[index] if planes else ids.expand(size[dim]))
        ids = torch.cat(pieces)
        result.append(Plane(ids.reshape([-1 if d == dim else 1 for d in range(len(shape))]).expand(shape)))
    if _same_dims(parts, dim):
        grids = [next(p for p in planes if dim in p.dims and len(p.dims) > 1) for planes, _ in parts]
        constant = {*range(len(shape))} - {d for p in grids for d in p.dims} - {dim}
        thin = [first_along(p.ids, constant) for p in grids]
        result.append(Plane(torch.cat(thin, dim).expand(shape)))
    return tidy(result)


def _same_dims(parts: list[tuple[Planes, Any]], dim: int) -> bool:
    """Tell whether every part has exactly one grid along ``dim``, all on the same dimensions."""
    grids = [[p.dims for p in planes if dim in p.dims and len(p.dims) > 1] for planes, _ in parts]
    return all(len(g) == 1 and g == grids[0] for g in grids)


def pad(tracer: Tracer, call: Call) -> list[Planes]:
    """Constant padding: the new elements are nobody's; along a dimension of channels they must stay."""
    amounts = call.args[1]
    planes = []
    for p in tracer.planes(call.tensors[0]):
        ids = p.ids
        for i in range(0, len(amounts), 2):
            d = ids.dim() - 1 - i // 2
            if d not in p.dims and (amounts[i] or amounts[i + 1]):
                size = list(ids.shape)
                size[d] += amounts[i] + amounts[i + 1]
                ids = ids.narrow(d, 0, 1).expand(size)
            elif amounts[i] or amounts[i + 1]:
                around = [0] * (2 * (i // 2)) + [amounts[i], amounts[i + 1]]
                ids = torch.constant_pad_nd(ids, around, 0)
        planes.append(Plane(ids, p.row))
    return [tidy(planes)]


def roll(tracer: Tracer, call: Call) -> list[Planes]:
    """Roll positions; channels rolled by a fixed number would come to lie elsewhere, so they stay."""
    moved = move(tracer, call)
    dims = call.args[2] if len(call.args) > 2 else call.kwargs.get("dims", [])
    turned = {d % call.tensors[0].dim() for d in dims}
    stuck = [p for p in tracer.planes(call.tensors[0]) if turned & set(p.dims) or not dims]
    tracer.ledger.freeze(stuck, f"{call.where} moves channels by a fixed number")
    return moved


def restride(tracer: Tracer, call: Call) -> list[Planes]:
    """as_strided_: a change of memory layout passes; a change of shape freezes."""
    x = call.tensors[0]
    if tuple(call.args[1]) == tuple(x.shape):
        return [tracer.planes(x)]
    tracer.ledger.freeze(tracer.planes(x), f"{call.where} reads memory by strides")
    return [()]


def shuffled(tracer: Tracer, call: Call) -> list[Planes]:
    """A channel shuffle: the i-th channel of one group comes to lie beside the i-th of another."""
    x, groups = call.args[:2]
    planes = []
    for p in tracer.planes(x):
        if 1 not in p.dims:
            planes.append(p)
            continue
        ids = tracer.ledger.tie(p, set(p.dims) - {1}, call.where).core
        box = ids.reshape(groups, -1)
        # Only equal places of all groups can go together: those kept must still interleave.
        tracer.ledger.unify(box[:1].expand(box.shape), box, call.where)
        planes.append(Plane(box.t().reshape(ids.shape).expand(x.shape), p.row))
    return [distinct(planes)]


def as_real(tracer: Tracer, call: Call) -> list[Planes]:
    """Complex numbers -> pairs along a further dimension, both of one channel."""
    shape = call.outs[0].shape
    return [tuple(Plane(p.ids[..., None].expand(shape), p.row) for p in tracer.planes(call.tensors[0]))]


def as_complex(tracer: Tracer, call: Call) -> list[Planes]:
    """Pairs along the last dimension -> complex numbers."""
    given = tracer.planes(call.tensors[0])
    last = call.tensors[0].dim() - 1
    planes = [tracer.ledger.tie(p, {last}, call.where) if last in p.dims else p for p in given]
    return settle(tracer, call, [[Plane(p.ids[..., 0], p.row) for p in planes]])
