"""Contractions: the labels along the summed dimension meet, the others go on to the output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from isoprune.graph.labels import Plane, Planes, core, distinct, first_along, spread
from isoprune.graph.rules.pointwise import join, where_of

if TYPE_CHECKING:
    from isoprune.graph.call import Call
    from isoprune.graph.tracer import Tracer


@dataclass(frozen=True)
class Side:
    """One operand: its planes, the dimension summed over, and where the others lie in the output."""

    planes: Planes
    shape: Sequence[int]
    summed: int
    to_out: Mapping[int, int]
    weight: bool = False  # no activation: it makes and reads channels


def contract(
    tracer: Tracer, a: Side, b: Side, batch: Sequence[int], shape: Sequence[int], where: str
) -> Planes:
    """Return the planes of a sum of products; ``batch`` are the output's dimensions that both have."""
    summed = [_summed(tracer, side, batch, where) for side in (a, b)]
    if summed[0] is not None and summed[1] is not None:
        tracer.ledger.unify(summed[0], summed[1], where)
    else:
        for ids in summed:
            if ids is not None:
                tracer.ledger.freeze(ids, f"{where} meets values that cannot go")
    _remember(tracer, a, b, summed)
    free = [_free(side, shape) for side in (a, b)]
    if batch:
        size = [n if d in batch else 1 for d, n in enumerate(shape)]
        ones = [d for d, n in enumerate(size) if n == 1]
        parts = [
            (tuple(Plane(first_along(p.ids, ones), p.row) for p in planes if set(p.dims) <= set(batch)), size)
            for planes in free
        ]
        join(tracer, parts, size, where)
    return distinct([*free[0], *free[1]])


def _summed(tracer: Tracer, side: Side, batch: Sequence[int], where: str) -> Tensor | None:
    """Return the ids along the summed dimension, laid out [batch dimensions of the output ..., summed]."""
    along = [p for p in side.planes if side.summed in p.dims]
    along = sorted((p for p in along if not p.row), key=lambda p: -len(p.dims)) or along
    chosen: Tensor | None = None
    for plane in along:
        others = [d for d in plane.dims if d != side.summed]
        if chosen is not None:
            tracer.ledger.unify(along[0].ids, plane.ids, where)  # two names for one channel
            continue
        # A row of a grid that the other side does not know: columns can only go in all rows alike.
        strange = [d for d in others if side.to_out.get(d) not in batch]
        ids = (tracer.ledger.tie(plane, strange, where) if strange else plane).ids
        for d in reversed(range(ids.dim())):
            if d != side.summed and side.to_out.get(d) not in batch:
                ids = ids.select(d, 0)
        kept = [d for d in range(len(side.shape)) if d == side.summed or side.to_out.get(d) in batch]
        order = sorted(range(len(kept)), key=lambda i: _place(side, kept[i]))
        chosen = ids.permute(order)
    return chosen


def _place(side: Side, d: int) -> int:
    return 1 << 30 if d == side.summed else side.to_out[d]


def _free(side: Side, shape: Sequence[int]) -> Planes:
    out = []
    for plane in side.planes:
        if side.summed not in plane.dims:
            dims = plane.dims
            ids = plane.core
            small = ids.reshape([ids.size(d) for d in dims])
            out.append(Plane(spread(small, shape, [side.to_out[d] for d in dims]), plane.row))
    return tuple(out)


def _remember(tracer: Tracer, a: Side, b: Side, summed: list[Tensor | None]) -> None:
    """Note which channels a weight makes and reads; widths of the two may have to balance."""
    ledger = tracer.ledger
    for side, own, read in ((b, summed[1], summed[0]), (a, summed[0], summed[1])):
        if not side.weight:
            continue
        if own is not None:
            ledger.read.add(_first(own))
        for p in side.planes:
            if len(p.dims) == 1 and side.summed not in p.dims:
                ledger.made.add(_first(p.ids))
                if own is not None and read is not None and read.dim() == 1:
                    tracer.readers.setdefault(_first(p.ids), read)


def _first(ids: Tensor) -> int:
    return int(core(ids).reshape(-1)[0])


def _last_two(tracer: Tracer, a: Tensor, b: Tensor, out: Tensor, where: str) -> Planes:
    """Matrix product over the last dimension of ``a`` and the one before the last of ``b``."""
    n = out.dim()
    batch = list(range(n - 2))
    to_out = dict(enumerate(range(n - 1)))
    side_a = Side(tracer.planes(a), a.shape, a.dim() - 1, to_out, tracer.is_weight(a))
    to_out = {**{d: d for d in batch}, b.dim() - 1: n - 1}
    side_b = Side(tracer.planes(b), b.shape, b.dim() - 2, to_out, tracer.is_weight(b))
    return contract(tracer, side_a, side_b, batch, out.shape, where)


def matrix(tracer: Tracer, call: Call) -> list[Planes]:
    a, b = call.args[0], call.args[1]
    return [_last_two(tracer, a, b, call.outs[0], where_of(tracer, call))]


def matrix_plus(tracer: Tracer, call: Call) -> list[Planes]:
    """addmm, baddbmm: a product and a bias."""
    bias, a, b = call.args[:3]
    out = call.outs[0]
    product = _last_two(tracer, a, b, out, where_of(tracer, call))
    if call.kwargs.get("beta") == 0:  # a product alone, of a sparse matrix
        return [product]
    return [join(tracer, [(product, out.shape), (tracer.planes(bias), bias.shape)], out.shape, call.where)]


def vector(tracer: Tracer, call: Call) -> list[Planes]:
    """mv, dot: the summed dimension is the last of both."""
    a, b = call.args[-2:]
    side_a = Side(tracer.planes(a), a.shape, a.dim() - 1, dict(enumerate(range(a.dim() - 1))))
    side_b = Side(tracer.planes(b), b.shape, 0, {})
    return [contract(tracer, side_a, side_b, [], call.outs[0].shape, call.where)]


def linear(tracer: Tracer, call: Call) -> list[Planes]:
    x, weight, bias = call.args if len(call.args) == 3 else (*call.args, None)
    out = call.outs[0]
    n = out.dim()
    side_x = Side(tracer.planes(x), x.shape, n - 1, {d: d for d in range(n - 1)})
    side_w = Side(tracer.planes(weight), weight.shape, 1, {0: n - 1}, tracer.is_weight(weight))
    planes = contract(tracer, side_x, side_w, [], out.shape, where_of(tracer, call))
    if bias is not None:
        planes = join(tracer, [(planes, out.shape), (tracer.planes(bias), bias.shape)], out.shape, call.where)
    return [planes]


def bilinear(tracer: Tracer, call: Call) -> list[Planes]:
    """x [..., i], weight [o, i, j], y [..., j] -> [..., o]: both x and y meet what the weight reads."""
    x, weight, y, out = *call.tensors[:3], call.outs[0]
    planes = tracer.planes(weight)
    makes = next((p for p in planes if p.dims == (0,)), None)
    free = []
    for t, d in ((x, 1), (y, 2)):
        reads = next((p.core.reshape(-1) for p in planes if p.dims == (d,)), None)
        for p in tracer.planes(t):
            last = t.dim() - 1
            if last not in p.dims:
                tracer.ledger.freeze([p], f"{call.where} mixes positions")
            elif reads is None:
                tracer.ledger.freeze([p], f"{call.where} meets values that cannot go")
            else:
                ids = tracer.ledger.tie(p, set(p.dims) - {last}, call.where).core.reshape(-1)
                tracer.ledger.unify(ids, reads, call.where)
        if reads is not None and not tracer.planes(t):
            tracer.ledger.freeze(reads, f"{call.where} meets values that cannot go")
        elif reads is not None:
            tracer.ledger.read.add(int(reads[0]))
    if makes is not None:
        ids = makes.core.reshape(-1)
        tracer.ledger.made.add(int(ids[0]))
        free.append(Plane(spread(ids, out.shape, (out.dim() - 1,))))
    return [tuple(free)]


def embedding(tracer: Tracer, call: Call) -> list[Planes]:
    """Rows are picked by token: they stay; the columns are channels."""
    weight, out = call.args[0], call.outs[0]
    planes = []
    for p in tracer.planes(weight):
        if p.dims == (1,):
            planes.append(Plane(spread(p.core.reshape(-1), out.shape, (out.dim() - 1,))))
            tracer.ledger.made.add(_first(p.ids))
        else:
            tracer.ledger.freeze([p], f"{call.where}: entries of a vocabulary cannot go")
    return [distinct(planes)]
