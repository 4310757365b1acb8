"""Reductions and softmax: what they run over may be channels; then their statistic loses the cut ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from isoprune.graph.labels import Plane, Planes, distinct

if TYPE_CHECKING:
    from isoprune.graph.trace import Call, Tracer


def reduced_dims(op: str, args: tuple[Any, ...], kwargs: dict[str, Any], x: Tensor) -> tuple[int, ...]:
    """Return the dimensions that a reduction runs over (all of them if it names none)."""
    position = 2 if op in ("norm", "linalg_vector_norm", "topk") else 1
    dims = args[position] if len(args) > position else kwargs.get("dim")
    if dims is None or dims == []:
        return tuple(range(x.dim()))
    if isinstance(dims, bool) or not isinstance(dims, int | tuple | list):
        return tuple(range(x.dim()))
    return tuple(d % max(x.dim(), 1) for d in ([dims] if isinstance(dims, int) else dims))


def reduction(tracer: Tracer, call: Call) -> list[Planes]:
    x: Tensor = call.args[0]
    dims = reduced_dims(call.op, call.args, call.kwargs, x)
    passed = [p for p in _tied(tracer, call, x, dims) if not set(p.dims) & set(dims)]
    return [distinct(_without(p, dims, out) for p in passed) for out in call.outs]


def softmax(tracer: Tracer, call: Call) -> list[Planes]:
    x: Tensor = call.args[0]
    _tied(tracer, call, x, (call.args[1] % x.dim(),))
    return [tracer.planes(x)]


def _tied(tracer: Tracer, call: Call, x: Tensor, dims: tuple[int, ...]) -> list[Plane]:
    """Return the planes of ``x``; a grid reduced over its rows has one channel in all of them.

    Reducing a grid [heads, width] over the width leaves the heads, which are rows of their own.
    Reducing it over the heads adds up channels of equal width position: they can only go together.
    """
    rows = {p.dims[0] for p in tracer.planes(x) if p.row and len(p.dims) == 1}
    planes = []
    for p in tracer.planes(x):
        over = set(p.dims) & set(dims)
        if over and set(p.dims) - over - rows:
            p = tracer.ledger.tie(p, over, call.where)
        planes.append(p)
    return planes


def ordered(tracer: Tracer, call: Call) -> list[Planes]:
    """Sorts, running sums, arg-extrema: position matters, so channels along the dimension stay."""
    x: Tensor = call.args[0]
    dims = reduced_dims(call.op, call.args, call.kwargs, x)
    stuck = [p for p in tracer.planes(x) if set(p.dims) & set(dims)]
    tracer.ledger.freeze(stuck, f"{call.where} depends on positions")
    passed = [p for p in tracer.planes(x) if not set(p.dims) & set(dims)]
    return [tuple(_without(p, dims, out) for p in passed) for out in call.outs]


def _without(plane: Plane, dims: Iterable[int], out: Tensor) -> Plane:
    """Return a plane as it lies in ``out``, of which ``dims`` are gone, shorter, or as they were."""
    ids = plane.ids
    for d in sorted(dims, reverse=True):
        ids = ids.narrow(d, 0, 1) if out.dim() == plane.ids.dim() else ids.select(d, 0)
    return Plane(ids.expand(out.shape), plane.row)


_STATISTICS = "mean sum amax amin var std var_mean std_mean norm linalg_vector_norm logsumexp"
_SOFTMAX = "_softmax _safe_softmax _log_softmax softmax log_softmax"
_ORDERED = "cumsum cumprod sort topk argmax argmin max min prod median any all"
REDUCTIONS = {
    **dict.fromkeys(_STATISTICS.split(), reduction),
    **dict.fromkeys(_SOFTMAX.split(), softmax),
    **dict.fromkeys(_ORDERED.split(), ordered),
}
