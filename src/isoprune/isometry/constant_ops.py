"""Convolution and BatchNorm with constant parameters, and no wasted second derivatives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.utils import _ntuple
from torch.overrides import TorchFunctionMode

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
