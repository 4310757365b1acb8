"""Pooling, resampling, folding: channels pass, positions are mixed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from isoprune.graph.labels import Plane, Planes, distinct, first_along, tidy

if TYPE_CHECKING:
    from isoprune.graph.call import Call
    from isoprune.graph.tracer import Tracer

_RANK = {"1d": 1, "2d": 2, "3d": 3, "linear1d": 1, "bilinear2d": 2, "bicubic2d": 2, "trilinear3d": 3}


def spatial(tracer: Tracer, call: Call) -> list[Planes]:
    x: Tensor = call.args[0]
    rank = next((r for name, r in _RANK.items() if name in call.op), 2)
    return _mixed(tracer, call, set(range(x.dim() - rank, x.dim())), "positions")


def _mixed(tracer: Tracer, call: Call, dims: set[int], what: str) -> list[Planes]:
    """What comes of the first input where all along ``dims`` is mixed: channels along other ones pass."""
    out = []
    for result in call.outs:
        planes = []
        for p in tracer.planes(call.args[0]):
            if set(p.dims) <= dims:
                tracer.ledger.freeze([p], f"{call.where} mixes {what}")
                continue
            ids = tracer.ledger.tie(p, set(p.dims) & dims, call.where).ids
            planes.append(Plane(first_along(ids, dims).expand(result.shape), p.row))
        out.append(distinct(planes))
    return out


def unfold(tracer: Tracer, call: Call) -> list[Planes]:
    """im2col: [N, C, H, W] -> [N, C * kernel, L]; every channel stands there once per kernel position."""
    x, kernel = call.args[:2]
    (out,) = call.outs
    positions = kernel[0] * kernel[1]
    planes = []
    for p in tracer.planes(x):
        if x.dim() != 4 or 1 not in p.dims:
            tracer.ledger.freeze([p], f"{call.where} mixes positions")
            continue
        ids = tracer.ledger.tie(p, set(p.dims) & {2, 3}, call.where).ids[:, :, 0, 0]
        planes.append(Plane(ids.repeat_interleave(positions, 1)[..., None].expand(out.shape), p.row))
    return [tidy(planes)]


def fold(tracer: Tracer, call: Call) -> list[Planes]:
    """col2im, the adjoint of `unfold`: the kernel positions of a channel are summed, so they are one."""
    x, _, kernel = call.args[:3]
    (out,) = call.outs
    positions = kernel[0] * kernel[1]
    planes = []
    for p in tracer.planes(x):
        if x.dim() != 3 or 1 not in p.dims:
            tracer.ledger.freeze([p], f"{call.where} mixes positions")
            continue
        ids = tracer.ledger.tie(p, set(p.dims) & {2}, call.where).ids[:, :, 0]
        blocks = ids.reshape(ids.size(0), -1, positions)
        tracer.ledger.unify(blocks[..., :1].expand(blocks.shape), blocks, call.where)
        planes.append(Plane(blocks[..., 0][..., None, None].expand(out.shape), p.row))
    return [tidy(planes)]


def sampled(tracer: Tracer, call: Call) -> list[Planes]:
    """Values of x [N, C, ...] at points that other inputs name; as many samples as these ask for."""
    x, *others = call.tensors
    for t in others:
        tracer.ledger.freeze(tracer.planes(t), f"{call.where} reads points from it")
    planes = []
    for p in tracer.planes(x):
        if 1 not in p.dims:
            tracer.ledger.freeze([p], f"{call.where} mixes positions")
            continue
        ids = tracer.ledger.tie(p, set(p.dims) - {1}, call.where).core
        planes.append(Plane(ids, p.row))
    return [distinct(Plane(p.ids.expand(out.shape), p.row) for p in planes) for out in call.outs]


def transformed(tracer: Tracer, call: Call) -> list[Planes]:
    """A Fourier transform: what it runs over is mixed, so only channels along other dimensions can go."""
    dims = {d % call.args[0].dim() for d in call.args[1]}
    return _mixed(tracer, call, dims, "all that it runs over")


def by_place(tracer: Tracer, call: Call) -> list[Planes]:
    """What stands at a place means something of its own (a row of an affine map): nothing of it can go."""
    for t in call.tensors:
        tracer.ledger.freeze(tracer.planes(t), f"{call.where} reads each value by its place")
    return [() for _ in call.outs]
