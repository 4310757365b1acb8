"""Indexing: labels along an indexed dimension are picked by position, those of other dimensions pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from isoprune.graph.labels import Plane, Planes, spread
from isoprune.graph.rules.pointwise import join
from isoprune.graph.rules.shape import move, settle

if TYPE_CHECKING:
    from isoprune.graph.call import Call
    from isoprune.graph.tracer import Tracer


def index(tracer: Tracer, call: Call) -> list[Planes]:
    """Advanced indexing: by constants the labels are picked too; by values, what is picked from stays."""
    x, *indices = call.tensors
    if not any(tracer.known(i) for i in indices):
        return move(tracer, call)
    dims = _indexed(call)
    stuck = [p for p in tracer.planes(x) if dims & set(p.dims)]
    tracer.ledger.freeze(stuck, f"{call.where} picks by values")
    # Along the other dimensions it does not matter which are picked.
    args = [_at_zero(a) for a in call.args[1:]]
    function = getattr(torch.ops.aten, call.op)
    kwargs = {name: _at_zero(a) for name, a in call.kwargs.items()}
    passed = [p for p in tracer.planes(x) if not dims & set(p.dims)]
    return settle(tracer, call, [[Plane(function(p.ids, *args, **kwargs), p.row) for p in passed]])


def _indexed(call: Call) -> set[int]:
    """Return the dimensions of what is picked from that an index runs along."""
    x = call.tensors[0]
    if call.op.startswith(("index_put", "_index_put")) or call.op in ("index", "_unsafe_index"):
        return {d for d, i in enumerate(call.args[1]) if isinstance(i, Tensor)}
    at = 2 if call.op == "take_along_dim" else 1
    dim = call.args[at] if len(call.args) > at else call.kwargs.get("dim")
    return set(range(x.dim())) if dim is None else {dim % x.dim()}


def _at_zero(argument: Any) -> Any:
    if isinstance(argument, tuple | list):
        return [_at_zero(a) for a in argument]
    return torch.zeros_like(argument) if isinstance(argument, Tensor) else argument


def put(tracer: Tracer, call: Call) -> list[Planes]:
    """index_put: rows of a tensor are written over; along the other dimensions channels meet."""
    target, indices, values = call.args[:3]
    dims = _indexed(call)
    lead = max((i.dim() for i in indices if isinstance(i, Tensor)), default=0)
    together = sorted(dims) == list(range(len(dims)))  # x[i, j] = values: one dimension for all
    where = f"{call.where} writes into a part of a tensor"
    own = tracer.planes(target)
    uniform = tracer.labelled(target) or _is_uniform(target)
    if not together or not uniform:
        tracer.ledger.freeze([*own, *tracer.planes(values)], where)
        return [own]
    stuck = [p for p in own if dims & set(p.dims)]
    first = target.dim() - len(dims)  # of the dimensions that are written whole
    laid: list[Plane] = []
    for p in tracer.planes(values):
        moved = {d: d - values.dim() + target.dim() for d in p.dims}
        if any(d < values.dim() - first for d in p.dims) or lead == 0:
            stuck.append(p)
            continue
        ids = p.core.reshape([p.ids.size(d) for d in p.dims])
        laid.append(Plane(spread(ids, target.shape, [moved[d] for d in p.dims]), p.row))
    tracer.ledger.freeze(stuck, where)
    mine = tuple(p for p in own if not dims & set(p.dims))
    size = [1 if d in dims else n for d, n in enumerate(target.shape)]
    own_size = size
    facts = tracer.facts.of(target)
    if facts.planes is None or facts.blank:  # of equal values, so of any width
        own_size = [n if any(d in p.dims for p in mine) else 1 for d, n in enumerate(size)]
        facts.blank = False
    whole = min(first, values.dim())
    written = [1] * (target.dim() - whole) + list(values.shape[values.dim() - whole :])
    return [join(tracer, [(mine, own_size), (tuple(laid), written)], tuple(target.shape), call.where)]


def _is_uniform(target: Tensor) -> bool:
    return not target.numel() or bool((target == target.flatten()[0]).all())


def cut_by_value(tracer: Tracer, call: Call) -> None:
    """Let channels stay that are cut at a number which the forward read of its values."""
    if call.op in ("slice", "narrow", "select") and not tracer.counts.isdisjoint(call.args[2:]):
        dim = call.args[1] % call.tensors[0].dim()
        stuck = [p for p in tracer.planes(call.tensors[0]) if dim in p.dims]
        tracer.ledger.freeze(stuck, f"{call.where} cuts them at a value that was read")


def pack(tracer: Tracer, call: Call) -> list[Planes]:
    """Sequences of several lengths, step after step: [batch, time, channels] -> [steps, channels]."""
    x, out = call.tensors[0], call.outs[0]
    stuck = [p for p in tracer.planes(x) if {0, 1} & set(p.dims)]
    tracer.ledger.freeze(stuck, f"{call.where} takes sequences apart")
    passed = [p for p in tracer.planes(x) if not {0, 1} & set(p.dims)]
    return [tuple(Plane(p.ids[:1, 0].expand(out.shape), p.row) for p in passed), *(() for _ in call.outs[1:])]
