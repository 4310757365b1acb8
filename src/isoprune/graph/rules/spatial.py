"""Pooling and resampling: channels pass, positions are mixed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from isoprune.graph.labels import Plane, Planes, distinct

if TYPE_CHECKING:
    from isoprune.graph.trace import Call, Tracer

_RANK = {"1d": 1, "2d": 2, "3d": 3, "linear1d": 1, "bilinear2d": 2, "bicubic2d": 2, "trilinear3d": 3}


def spatial(tracer: Tracer, call: Call) -> list[Planes]:
    x: Tensor = call.args[0]
    rank = next((r for name, r in _RANK.items() if name in call.op), 2)
    space = range(x.dim() - rank, x.dim())
    out = []
    for result in call.outs:
        planes = []
        for p in tracer.planes(x):
            if set(p.dims) <= set(space):
                tracer.ledger.freeze([p], f"{call.where} mixes positions")
                continue
            ids = tracer.ledger.tie(p, set(p.dims) & set(space), call.where).ids
            for d in space:
                ids = ids.narrow(d, 0, 1)
            planes.append(Plane(ids.expand(result.shape), p.row))
        out.append(distinct(planes))
    return out


_OPS = (
    "max_pool2d_with_indices max_pool3d_with_indices max_pool1d max_pool2d mkldnn_max_pool2d "
    "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d _adaptive_avg_pool2d "
    "_adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d "
    "upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact2d upsample_linear1d "
    "upsample_bilinear2d _upsample_bilinear2d_aa upsample_bicubic2d _upsample_bicubic2d_aa "
    "upsample_trilinear3d "
    "reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d"
)
SPATIAL = dict.fromkeys(_OPS.split(), spatial)
