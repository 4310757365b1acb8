"""The Jacobians of some samples as linear operators, J v and J^T u, at no wasted second derivatives."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.utils import _ntuple
from torch.overrides import TorchFunctionMode

from isoprune.isometry.function import SampleFunction
from isoprune.isometry.krylov import Product
from isoprune.types import IsopruneError


@dataclass(frozen=True)
class JacobianOperator:
    """``push`` maps into the smaller of the two spaces, ``pull`` into the larger; [n, size, k] each."""

    push: Product
    pull: Product


@contextlib.contextmanager
def jacobian_operator(f: SampleFunction, rows: Tensor, block: int) -> Iterator[JacobianOperator]:
    """Yield the operator of the samples ``rows``; ``block`` vectors of each go through the network together.

    J^T u is a backward. J v is the backward of that one, in which u is the variable: exact, twice as dear as
    must be in torch, and not with `ConstantOps`; forward mode would recompute the forward every time.
    """
    n, repeated = len(rows), rows.repeat_interleave(block)
    x = f.leaf(repeated)
    with ConstantOps():
        y = f(x, repeated)
    u = torch.zeros_like(y, requires_grad=True)
    try:
        (g,) = torch.autograd.grad(y, x, u, create_graph=True)
    except RuntimeError as error:
        raise NoSecondDerivative(error) from error

    def transposed(vectors: Tensor) -> Tensor:
        return _blocks(
            lambda u: torch.autograd.grad(y, x, u, retain_graph=True)[0], vectors, n, block, y.shape[1:]
        )

    def plain(vectors: Tensor) -> Tensor:
        if not g.requires_grad:  # the Jacobian is zero: every path is cut
            return vectors.new_zeros(n, y.shape[1], vectors.shape[2])
        try:
            return _blocks(
                lambda v: torch.autograd.grad(g, u, v, retain_graph=True)[0], vectors, n, block, x.shape[1:]
            )
        except RuntimeError as error:
            raise NoSecondDerivative(error) from error

    wide = y.shape[1] <= x[0].numel()
    yield JacobianOperator(plain, transposed) if wide else JacobianOperator(transposed, plain)


def _blocks(product, vectors: Tensor, n: int, block: int, shape: torch.Size) -> Tensor:
    """Apply ``product`` to vectors [n, size, k], ``block`` of each sample at a time."""
    done = []
    for part in vectors.split(block, dim=2):
        k = part.shape[2]
        padded = torch.nn.functional.pad(part, (0, block - k)).mT.reshape(n * block, *shape)
        done.append(product(padded).reshape(n, block, -1)[:, :k].mT)
    return torch.cat(done, dim=2)


class NoSecondDerivative(IsopruneError):
    """An operation of the network has no second derivative, which products J v need."""

    def __init__(self, error: RuntimeError) -> None:
        super().__init__(
            "J v needs second derivatives, which an operation of this network has none of "
            f"({str(error).splitlines()[0]}). Use jacobian_singular_values, which needs none."
        )


_CONVOLUTIONS = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}


class ConstantOps(TorchFunctionMode):
    """While on, convolutions and BatchNorm whose parameters need no gradient run as the linear maps they are.

    torch's own second derivative of a convolution computes the weight's gradient too and throws it away,
    which doubles the price of every product J v; that of BatchNorm in eval mode is a dozen passes over what
    is one scaling.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _CONVOLUTIONS and len(args) == 7 and not kwargs:
            x, weight, bias, stride, padding, dilation, groups = args
            if (
                _constant(weight, bias)
                and x.requires_grad
                and x.ndim == weight.ndim
                and not isinstance(padding, str)
            ):
                each = _ntuple(_CONVOLUTIONS[func])
                geometry = (each(stride), each(padding), each(dilation), groups)
                return _Convolution.apply(x, weight, bias, geometry)
        if func is F.batch_norm:
            return _batch_norm(*args, **kwargs)
        return func(*args, **kwargs)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: tuple) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.geometry = x.shape, geometry
        stride, padding, dilation, groups = geometry
        none = (0,) * len(stride)
        return torch.ops.aten.convolution(x, weight, bias, stride, padding, dilation, False, none, groups)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        return _Transposed.apply(grad_outputs[0], weight, ctx.shape, ctx.geometry), None, None, None


class _Transposed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, g: Tensor, weight: Tensor, shape: torch.Size, geometry: tuple) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.geometry = geometry
        stride, padding, dilation, groups = geometry
        none = (0,) * len(stride)
        # The input's values do not matter to its own gradient, only its shape: one element, repeated.
        x = g.new_zeros(()).expand(shape)
        return torch.ops.aten.convolution_backward(
            g, x, weight, None, stride, padding, dilation, False, none, groups, (True, False, False)
        )[0]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        return _Convolution.apply(grad_outputs[0], weight, None, ctx.geometry), None, None, None


def _batch_norm(x, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    if training or mean is None or not _constant(mean, var, weight, bias):
        return F.batch_norm(x, mean, var, weight, bias, training, momentum, eps)
    scale = (var + eps).rsqrt() * (1 if weight is None else weight)
    shift = -mean * scale + (0 if bias is None else bias)
    shape = (1, -1) + (1,) * (x.ndim - 2)
    return x * scale.view(shape) + shift.view(shape)


def _constant(*tensors: Tensor | None) -> bool:
    return not any(t is not None and t.requires_grad for t in tensors)
