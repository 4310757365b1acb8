"""Normalisations: labels pass on, parameters join them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from isoprune.graph.labels import Plane, Planes
from isoprune.graph.rules.pointwise import Operand, join
from isoprune.graph.sizes import SizeClaim

if TYPE_CHECKING:
    from isoprune.graph.call import Call
    from isoprune.graph.tracer import Tracer


def _per_channel(
    tracer: Tracer, call: Call, x: Tensor, parameters: list[Tensor | None], axis: int = 1
) -> Planes:
    """Join x, with C channels along an axis, with parameters [C]."""
    size = tuple(n if dim == axis % x.dim() else 1 for dim, n in enumerate(x.shape))
    operands: list[Operand] = [(tracer.planes(x), x.shape)]
    for parameter in parameters:
        if isinstance(parameter, Tensor):
            laid = tuple(Plane(p.ids.reshape(size), p.row) for p in tracer.planes(parameter))
            operands.append((laid, size))
    return join(tracer, operands, x.shape, call.where)


def batch_norm(tracer: Tracer, call: Call) -> list[Planes]:
    x, *parameters = call.args[:5]
    planes = _per_channel(tracer, call, x, parameters)
    return [planes, *(() for _ in call.outs[1:])]


def layer_norm(tracer: Tracer, call: Call) -> list[Planes]:
    """Layer and RMS norm: the statistic runs over the last dimensions; what is cut leaves it."""
    x, normalized, *parameters = call.args[:4]
    for offset in range(len(normalized)):
        dim = x.dim() - len(normalized) + offset
        tracer.claims.append(
            SizeClaim(tracer.modules[-1] if tracer.modules else "", f"normalized_shape.{offset}",
                  tracer.planes(x), x.shape, dim)
        )  # fmt: skip
    operands = [(tracer.planes(x), x.shape)]
    operands += [(tracer.planes(p), p.shape) for p in parameters if isinstance(p, Tensor)]
    return [join(tracer, operands, x.shape, call.where), *(() for _ in call.outs[1:])]


def group_norm(tracer: Tracer, call: Call) -> list[Planes]:
    """Group norm: every group keeps equally many channels, and the statistic runs over those.

    Groups of one channel go with it: their number follows that of the weights, if there are any.
    """
    x, weight, bias = call.args[:3]
    groups = call.args[6]
    for plane in tracer.planes(x) if weight is None or groups < x.size(1) else ():
        if 1 in plane.dims and not plane.row:  # of a channel that a view made of several, all must go
            channels = tracer.ledger.tie(plane, set(plane.dims) - {1}, call.where).core
            tracer.ledger.grid(channels.reshape(groups, -1), call.where, every_row=True)
    return [_per_channel(tracer, call, x, [weight, bias]), *(() for _ in call.outs[1:])]


def weight_norm(tracer: Tracer, call: Call) -> list[Planes]:
    """Directions over their norms, times lengths: the result lies as the directions do."""
    direction, length = call.args[:2]
    operands = [(tracer.planes(t), t.shape) for t in (direction, length)]
    made = join(tracer, operands, direction.shape, call.where)
    return [made, tracer.planes(length)]


def fake_quantized(tracer: Tracer, call: Call, *, axis: int) -> list[Planes]:
    """Rounding to steps: scales, zero points and seen ranges are of the whole tensor, or [C] along an axis.

    Zero stays zero.
    """
    x, *others = call.tensors
    parameters: list[Tensor | None] = [t for t in others if t.dim() and t.numel() > 1]
    made = _per_channel(tracer, call, x, parameters, call.args[axis] if len(call.args) > axis else 0)
    return [made for _ in call.outs]


def observed(tracer: Tracer, call: Call) -> list[Planes]:
    """Rounding to steps that follow the ranges seen so far; while they are observed, nothing goes."""
    x, observing = call.args[:2]
    if bool(observing.any()):
        why = "follows the ranges of its channels (torch.ao.quantization.disable_observer ends that)"
        tracer.ledger.freeze(tracer.planes(x), f"{call.where} {why}")
    return fake_quantized(tracer, call, axis=10)
