"""Pointwise operations: element by element, what meets is one channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from isoprune.graph.labels import Plane, Planes, broadcast, distinct
from isoprune.graph.layouts import of_elements

if TYPE_CHECKING:
    from isoprune.graph.call import Call
    from isoprune.graph.tracer import Tracer


def pointwise(tracer: Tracer, call: Call) -> list[Planes]:
    out = call.outs[0]
    operands = [(tracer.planes(t), _own_size(t)) for t in call.tensors if t.dim() or tracer.planes(t)]
    planes = join(tracer, operands, tuple(out.shape), where_of(tracer, call))
    return [planes for _ in call.outs]


def where_of(tracer: Tracer, call: Call) -> str:
    """Return where an operation ran, and what it met that torch does not know to be the network's."""
    what = tracer.attribute_of(call.tensors)
    return call.where if what is None else f"{call.where} of {what},"


def _own_size(tensor: Tensor) -> tuple[int, ...]:
    """Return the shape, 1 where the tensor is expanded: there it has one value, which fits any number."""
    return tuple(1 if stride == 0 else n for n, stride in zip(tensor.shape, tensor.stride(), strict=True))


def copy_into(tracer: Tracer, call: Call) -> list[Planes]:
    """`copy_`: the whole of a tensor takes the source's channels; a part of one must have the same."""
    target, source = call.tensors[0], call.tensors[1]
    whole = target.untyped_storage().nbytes() == target.numel() * target.element_size()
    if whole and not tracer.planes(target):
        return [tuple(broadcast(p, target.shape) for p in _aligned(tracer.planes(source), target.dim()))]
    operands = [(tracer.planes(target), target.shape), (tracer.planes(source), _own_size(source))]
    return [join(tracer, operands, tuple(target.shape), call.where)]


def join(
    tracer: Tracer, operands: Sequence[tuple[Planes, Sequence[int]]], shape: Sequence[int], where: str
) -> Planes:
    """Unify the planes of broadcast operands; return those of the result, of ``shape``."""
    laid = [
        (_broadcast_all(planes, size, shape), (1,) * (len(shape) - len(size)) + tuple(size))
        for planes, size in operands
    ]
    first = laid[0][0] if laid else ()
    if len(first) == 1 and all(_alike(planes, first) for planes, _ in laid[1:]):  # the usual case
        for planes, _ in laid[1:]:
            tracer.ledger.unify(first[0].ids, planes[0].ids, where)
        return first
    covered: set[int] = set()
    # Operands that lie just as the first one does are one with it, and so with each other.
    like_first = [i > 0 and _alike(planes, laid[0][0]) for i, (planes, _) in enumerate(laid)]
    for i, a in enumerate(laid):
        for j in range(i + 1, len(laid)):
            if not (like_first[i] and like_first[j]):
                covered |= _meet(tracer, a, laid[j], where)
    rows = {p.dims for planes, _ in laid for p in planes if p.row}
    # A row that met a weight per row stays a row: its grid is still there to be balanced.
    alive = [p for planes, _ in laid for p in planes if id(p) not in covered]
    return distinct(p for p in alive if p.row or p.dims not in rows)


def _alike(planes: Planes, others: Planes) -> bool:
    return bool(planes) and [(p.dims, p.row) for p in planes] == [(q.dims, q.row) for q in others]


def _aligned(planes: Planes, dim: int) -> Planes:
    return tuple(Plane(p.ids[(None,) * (dim - p.ids.dim())], p.row) for p in planes)


def _broadcast_all(planes: Planes, size: Sequence[int], shape: Sequence[int]) -> Planes:
    if tuple(size) == tuple(shape):
        return planes
    return tuple(broadcast(p, shape) for p in _aligned(planes, len(shape)))


Operand = tuple[Planes, Sequence[int]]


def _meet(tracer: Tracer, a: Operand, b: Operand, where: str) -> set[int]:
    """Match every plane of one operand with the other's on the same dimensions, or freeze it.

    Returns the identities of planes that another, on more dimensions, now speaks for, and of rows and
    grids that cannot go: nothing need be balanced with those.

    A plane needs no match along dimensions on which the other operand is broadcast. Heads x width
    against a weight per width ties that width in every head; against a weight per head it is the
    row plane that matches.
    """
    matched: set[int] = set()
    covered: set[int] = set()
    for (planes, _), (others, _) in ((a, b), (b, a)):
        for p in planes:
            _wish_for_elements(tracer, p, planes, others)
            exact = [q for q in others if q.dims == p.dims]
            for q in sorted(exact, key=lambda q: q.row != p.row)[:1]:
                tracer.ledger.unify(p.ids, q.ids, where)
                matched |= {id(p), id(q)}
    for (planes, _), (others, sizes) in ((a, b), (b, a)):
        for p in planes:
            if id(p) in matched:
                continue
            met = {d for d in p.dims if sizes[d] > 1}
            rows = {r.dims[0] for r in planes if id(r) in matched and len(r.dims) == 1}
            if not met - rows:
                matched.add(id(p))
                continue
            part = [q for q in others if q.dims and set(q.dims) < set(p.dims) and not q.row]
            part += [q for q in others if q.row and set(q.dims) < set(p.dims) and met - set(q.dims) <= rows]
            part.sort(key=lambda q: not (met - rows).issubset(q.dims))
            for q in part[:1]:
                tracer.ledger.unify(p.ids, q.ids, where)
                matched |= {id(p), id(q)}
                covered.add(id(q))
    for planes, sizes in ((a[0], b[1]), (b[0], a[1])):
        for p in planes:
            if id(p) not in matched and any(sizes[d] > 1 for d in p.dims):
                reason = f"{where} meets what has no channels there: positions of the input, or a constant"
                tracer.ledger.freeze([p], reason)
                covered |= {id(p)} if p.row or len(p.dims) > 1 else set()
    return covered


def _wish_for_elements(tracer: Tracer, grid: Plane, planes: Planes, others: Planes) -> None:
    """Heads x width meet a parameter [heads, width], whose channels should lie as the grid's do."""
    inside = [q for q in others if len(q.dims) == 1 and set(q.dims) < set(grid.dims) and not q.row]
    if grid.row or len(inside) < 2 or any(q.dims == grid.dims for q in others):
        return
    name = tracer.ledger.tensor_of(inside)
    if name is not None:
        sources = {q.dims[0]: tracer.ledger.source(int(q.ids.flatten()[0])) for q in inside}
        place = {d: s.dim for d, s in sources.items() if s is not None}
        rows = {p.dims[0] for p in planes if p.row and len(p.dims) == 1} & place.keys()
        rows = rows if len(rows) == len(place) - 1 else sorted(place)[:-1]
        (shape,) = (t.shape for n, t in tracer.names.values() if n == name)
        layout = of_elements(shape, list(place.values()), [place[d] for d in rows])
        tracer.wishes.setdefault(name, layout)


def accumulated(tracer: Tracer, call: Call) -> list[Planes]:
    """index_add, scatter, ...: rows of the source go to rows of the target that an index names.

    Along the other dimensions channels meet: those of the index too, where it has some.
    """
    target, dim, index, *given = call.args[:4]
    dim %= target.dim()
    sources = [t for t in given if isinstance(t, Tensor) and t.dim()]
    along = index.dim() == target.dim() and target.dim() > 1  # scatter has an entry for each element
    mine = {d for p in tracer.planes(index) for d in p.dims} if along else set()
    steps = enumerate(index.stride()) if along else ()
    varies = {dim} | {d for d, step in steps if step != 0 and index.size(d) > 1 and d not in mine}
    operands: list[Operand] = []
    for t in (target, *sources, *([index] if along else [])):
        planes = tracer.planes(t)
        tracer.ledger.freeze(
            [p for p in planes if varies & set(p.dims)], f"{call.where} picks it by position"
        )
        passed = tuple(
            Plane(_first_of(p, dim, target.shape), p.row) for p in planes if not varies & set(p.dims)
        )
        size = [1 if d == dim or (t is index and d in varies) else n for d, n in enumerate(target.shape)]
        operands.append((passed, [min(n, m) for n, m in zip(size, _own_size(t), strict=True)]))
    return [join(tracer, operands, tuple(target.shape), call.where)]


def _first_of(plane: Plane, dim: int, shape: Sequence[int]) -> Tensor:
    return plane.ids.narrow(dim, 0, 1).expand(tuple(shape))
