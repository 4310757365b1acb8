"""Convolutions: contractions of channels that are the same at all positions, also in groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from isoprune.graph.labels import Plane, Planes, distinct, spread
from isoprune.graph.layouts import of_groups
from isoprune.graph.rules.contraction import Side, contract
from isoprune.graph.rules.pointwise import join, where_of

if TYPE_CHECKING:
    from isoprune.graph.call import Call
    from isoprune.graph.tracer import Tracer


def convolution(tracer: Tracer, call: Call) -> list[Planes]:
    x, weight, bias, *_, transposed, _, groups = call.args[:9]
    out, ledger = call.outs[0], tracer.ledger
    if x.dim() < weight.dim():
        ledger.freeze(tracer.planes(x), f"{call.where} has no batch dimension")
        return [()]
    space = set(range(2, x.dim()))
    pointwise = groups == 1 and _is_pointwise(call, weight)
    px = _over_space(tracer, tracer.planes(x), space, call.where, alone=pointwise)
    pw = _over_space(tracer, tracer.planes(weight), space, call.where)
    reads, makes = (0, 1) if transposed else (1, 0)
    if groups == 1:
        side_x = Side(px, x.shape, 1, {0: 0, **{d: d for d in space if pointwise}})
        side_w = Side(pw, weight.shape, reads, {makes: 1}, tracer.is_weight(weight))
        planes = contract(tracer, side_x, side_w, [], out.shape, where_of(tracer, call))
    else:
        planes = _grouped(tracer, call, px, groups, transposed)
    if bias is not None:
        size = (1, bias.numel(), *(1,) * len(space))
        laid = tuple(Plane(p.ids.reshape(size), p.row) for p in tracer.planes(bias))
        planes = join(tracer, [(planes, out.shape), (laid, size)], out.shape, call.where)
    return [planes]


def deformed_convolution(tracer: Tracer, call: Call) -> list[Planes]:
    """A convolution that reads x at points moved by offsets; these count points, not channels."""
    x, weight, offset, mask, bias, *_ = call.args
    for t in (offset, mask):
        tracer.ledger.freeze(tracer.planes(t), f"{call.where} reads points from it")
    groups, offsets = call.args[11:13]
    if offsets > 1:  # each set of channels has offsets of its own
        for p in tracer.planes(x):
            if 1 in p.dims and not p.row:
                ids = tracer.ledger.tie(p, set(p.dims) - {1}, call.where).core
                tracer.ledger.grid(ids.reshape(offsets, -1), call.where, every_row=True)
    # No stride is one, so that a kernel of one point does not count as pointwise.
    args = (x, weight, bias, (0, 0), (0, 0), (1, 1), False, (0, 0), groups)
    return convolution(tracer, replace(call, args=args))


def _is_pointwise(call: Call, weight: Tensor) -> bool:
    """Tell whether every position is computed from itself alone: a matrix product in disguise."""
    stride, padding = call.args[3:5]
    return weight[0, 0].numel() == 1 and set(stride) == {1} and set(padding) == {0}


def _over_space(
    tracer: Tracer, planes: Planes, space: set[int], where: str, *, alone: bool = False
) -> Planes:
    """Return the planes with each channel the same at all positions (it goes everywhere or nowhere).

    Planes of positions only must stay, unless positions do not meet (``alone``).
    """
    ledger = tracer.ledger
    positions = [p for p in planes if set(p.dims) <= space]
    if not alone:
        ledger.freeze(positions, f"{where}: positions cannot go")
    mixed = [p for p in planes if not set(p.dims) <= space]
    tied = [ledger.tie(p, space & set(p.dims), where) if space & set(p.dims) else p for p in mixed]
    return (*tied, *positions) if alone else tuple(tied)


def _grouped(tracer: Tracer, call: Call, px: Planes, groups: int, transposed: bool) -> Planes:
    """Grouped convolution: group g of the filters reads group g of the channels.

    Depthwise: a channel and its filters are one. Else channels and filters of every group must stay
    equally many, and the weight's second dimension counts the channels *of its row's group*.
    """
    x, weight = call.args[:2]
    out, ledger = call.outs[0], tracer.ledger
    # Heads folded into the batch share the filters: a channel goes in all of them.
    channels = [ledger.tie(p, set(p.dims) - {1}, call.where) for p in px if 1 in p.dims]
    passed = [Plane(_to_space(p.ids, out), p.row) for p in px if 1 not in p.dims]
    wide = x.size(1) // groups
    own = {p.dims[0]: p.core.reshape(-1) for p in tracer.planes(weight) if len(p.dims) == 1}
    element = next((p.core.reshape(-1) for p in channels), None)
    first = own.get(0)
    if (made := _of_samples(tracer, call, element, own)) is not None:
        return distinct([*passed, *made])
    if first is None or element is None:
        ledger.freeze([*px, *tracer.planes(weight)], f"{call.where}: grouped convolution of fixed width")
        return distinct(passed)
    if transposed and not (wide == 1 and weight.size(1) == 1):
        return distinct([*passed, *_transposed_groups(tracer, call, element, first)])
    if wide == 1:
        ledger.unify(element[:, None], first.reshape(groups, -1), call.where)
    else:
        boxes = element.reshape(groups, wide), first.reshape(groups, -1)
        for box in boxes:
            ledger.grid(box, call.where, every_row=True)
        per_filter = boxes[0].repeat_interleave(weight.size(0) // groups, 0)
        local = per_filter.reshape(weight.size(0), wide, *(1,) * (weight.dim() - 2)).expand(weight.shape)
        _counted_anew(tracer, weight, groups, local, call.where)
    ledger.made.add(int(first[0]))
    planes = Plane(spread(first, out.shape, (1,)))
    return distinct([*passed, planes])


def _counted_anew(tracer: Tracer, weight: Tensor, groups: int, ids: Tensor, where: str) -> None:
    """Let ``ids`` stand for dimension 1 of a weight, whose own count starts anew in every group."""
    planes = tracer.planes(weight)
    mine = [p for p in planes if 1 in p.dims]
    if id(weight) in tracer.names and not any(len(p.dims) > 1 for p in mine):
        others = [p for p in planes if 1 not in p.dims]
        tracer.mark(weight, [*others, Plane(ids)])
    elif any(len(p.dims) > 1 for p in mine):
        tracer.ledger.unify(next(p.ids for p in mine if len(p.dims) > 1), ids, where)
    else:
        tracer.ledger.freeze([Plane(ids), *mine], f"{where}: a computed grouped weight")
        _wish_for_groups(tracer, mine, weight, groups)


def _wish_for_groups(tracer: Tracer, planes: Sequence[Plane], weight: Tensor, groups: int) -> None:
    """Ask that the parameter which a weight is computed from, element by element, be recorded in groups."""
    name = tracer.ledger.tensor_of(planes)
    if name is not None and (name, weight.shape) in ((own, t.shape) for own, t in tracer.names.values()):
        tracer.wishes.setdefault(name, of_groups(weight.shape, groups))


def _of_samples(
    tracer: Tracer, call: Call, element: Tensor | None, own: Mapping[int, Tensor]
) -> Planes | None:
    """Filters of each sample's own, samples side by side as groups: the same channels in every group.

    So a forward writes filters that it modulates or mixes by sample. None where groups differ.
    """
    ledger, rows, columns = tracer.ledger, own.get(0), own.get(1)
    transposed, groups = call.args[6], call.args[8]
    if element is None or columns is None or not _alike(element, groups):
        return None
    if rows is not None and not _alike(rows, groups):
        return None
    reads, makes = (rows, columns.repeat(groups)) if transposed else (columns, rows)
    if reads is None:
        return None
    ledger.unify(element[: len(element) // groups], reads[: len(element) // groups], call.where)
    ledger.read.add(int(reads[0]))
    if makes is None:
        return ()
    ledger.made.add(int(makes[0]))
    return (Plane(spread(makes, call.outs[0].shape, (1,))),)


def _alike(ids: Tensor, groups: int) -> bool:
    """Tell whether every group is the same channels."""
    each = ids.reshape(groups, -1)
    return bool((each == each[0]).all())


def _transposed_groups(tracer: Tracer, call: Call, element: Tensor, first: Tensor) -> Planes:
    """Transposed, the weight's rows are what it reads; what it makes is counted anew in every group."""
    x, weight = call.args[:2]
    groups, ledger, out = call.args[8], tracer.ledger, call.outs[0]
    ledger.unify(element, first, call.where)
    mine = [p for p in tracer.planes(weight) if 1 in p.dims]
    local = next((p.ids for p in mine if len(p.dims) > 1), None)
    if local is None:
        ledger.freeze([Plane(element), *mine], f"{call.where}: grouped convolution of fixed width")
        _wish_for_groups(tracer, mine, weight, groups)
        return ()
    made = local.reshape(weight.shape[0], weight.shape[1], -1)[:: x.size(1) // groups, :, 0]
    if x.size(1) == groups:
        ledger.unify(element[:, None], made, call.where)
    else:
        for box in (element.reshape(groups, -1), made):
            ledger.grid(box, call.where, every_row=True)
    ledger.made.add(int(made[0, 0]))
    ledger.read.add(int(first[0]))
    return (Plane(spread(made.reshape(-1), out.shape, (1,))),)


def _to_space(ids: Tensor, out: Tensor) -> Tensor:
    return ids[(slice(None),) + (slice(0, 1),) * (ids.dim() - 1)].expand(out.size(0), *out.shape[1:])
