"""Reductions and softmax: what they run over may be channels; then their statistic loses the cut ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from isoprune.graph.labels import Plane, Planes, distinct

if TYPE_CHECKING:
    from isoprune.graph.call import Call
    from isoprune.graph.tracer import Tracer


def over(at: int, args: Sequence[Any], kwargs: Mapping[str, Any], dims: int) -> set[int]:
    """Return which of ``dims`` dimensions a reduction runs over, by its argument ``at``; all by default."""
    chosen = args[at] if len(args) > at else kwargs.get("dim")
    if isinstance(chosen, int) and not isinstance(chosen, bool):
        return {chosen % max(dims, 1)}
    if isinstance(chosen, tuple | list) and chosen:
        return {d % max(dims, 1) for d in chosen}
    return set(range(dims))


def _reduced(call: Call) -> set[int]:
    assert call.operation.over is not None
    return call.operation.over(call.args, call.kwargs, call.args[0].dim())


def reduction(tracer: Tracer, call: Call) -> list[Planes]:
    dims = _reduced(call)
    passed = [p for p in _tied(tracer, call, call.args[0], dims) if not set(p.dims) & dims]
    return [distinct(_without(p, dims, out) for p in passed) for out in call.outs]


def softmax(tracer: Tracer, call: Call) -> list[Planes]:
    _tied(tracer, call, call.args[0], _reduced(call))
    return [tracer.planes(call.args[0])]


def _tied(tracer: Tracer, call: Call, x: Tensor, dims: set[int]) -> list[Plane]:
    """Return the planes of ``x``; a grid reduced over its rows has one channel in all of them.

    Reducing a grid [heads, width] over the width leaves the heads, which are rows of their own.
    Reducing it over the heads adds up channels of equal width position: they can only go together.
    """
    rows = {p.dims[0] for p in tracer.planes(x) if len(p.dims) == 1}
    planes = []
    for p in tracer.planes(x):
        over = set(p.dims) & dims
        if over and set(p.dims) - over - rows:
            p = tracer.ledger.tie(p, over, call.where)
        planes.append(p)
    return planes


def extreme(tracer: Tracer, call: Call) -> list[Planes]:
    """Max, min, median: the value is a statistic; whoever reads the position it was found at keeps it."""
    dims, x = _reduced(call), call.args[0]
    for positions in call.outs[1:]:
        along = tuple(p for p in tracer.planes(x) if set(p.dims) & dims)
        tracer.facts.of(positions).positions = along
    return reduction(tracer, call)


def ordered(tracer: Tracer, call: Call) -> list[Planes]:
    """Sorts, running sums, arg-extrema: position matters, so channels along the dimension stay."""
    x: Tensor = call.args[0]
    dims = _reduced(call)
    stuck = [p for p in tracer.planes(x) if set(p.dims) & dims]
    tracer.ledger.freeze(stuck, f"{call.where} depends on positions")
    passed = [p for p in tracer.planes(x) if not set(p.dims) & dims]
    return [tuple(_without(p, dims, out) for p in passed) for out in call.outs]


def _without(plane: Plane, dims: Iterable[int], out: Tensor) -> Plane:
    """Return a plane as it lies in ``out``, of which ``dims`` are gone, shorter, or as they were."""
    ids = plane.ids
    for d in sorted(dims, reverse=True):
        ids = ids.narrow(d, 0, 1) if out.dim() == plane.ids.dim() else ids.select(d, 0)
    return Plane(ids.expand(out.shape), plane.row)
