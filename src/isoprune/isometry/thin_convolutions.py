"""Convolutions of few input channels, with a backward to the input that does not pad the channels."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair
from torch.overrides import TorchFunctionMode

# oneDNN computes the gradient of the input for 8 or 16 channels at a time, though there be one. By columns
# (im2col) it takes, over eight geometries from LeNet-5's to a patch embedding's, 1/4 to 1/13 of its time
# at one channel, 4/10 or less to 7/10 at two and 1/3 to all of it at three; from four on it may be slower.
_CHANNELS = 3
# The columns of one sample hold no more than so many times what its output holds.
_COLUMNS = 8


def cheaper_convolutions(model: nn.Module) -> contextlib.AbstractContextManager:
    """Return `ThinConvolutions` if the model has any; else what does nothing, as each operation would pay."""
    if any(isinstance(m, nn.Conv2d) and m.in_channels <= _CHANNELS for m in model.modules()):
        return ThinConvolutions()
    return contextlib.nullcontext()


class ThinConvolutions(TorchFunctionMode):
    """While on, the backward of a two-dimensional convolution of up to three channels goes by columns.

    On CPU, if its parameters need no gradient; any other runs as it is. The values are the same.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.conv2d and len(args) == 7 and not kwargs:
            x, weight, bias, stride, padding, dilation, groups = args
            plain = groups == 1 and not isinstance(padding, str) and _pair(dilation) == (1, 1)
            if plain and _thin(x, weight, bias):
                return _ByColumns.apply(x, weight, bias, _pair(stride), _pair(padding))
        return func(*args, **(kwargs or {}))


class _ByColumns(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape, ctx.stride, ctx.padding = x.shape, stride, padding
        return torch.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None, None]:
        (weight,) = ctx.saved_tensors
        g = grad_outputs[0]
        # The input's values do not matter to its own gradient, only its shape: one element, repeated.
        x = g.new_zeros(()).expand(ctx.shape)
        wanted = (True, False, False)
        back = torch.ops.aten._slow_conv2d_backward.output_mask(
            g, x, weight, weight.shape[2:], ctx.stride, ctx.padding, wanted
        )
        return back[0], None, None, None, None


def _thin(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    filters, channels, height, width = weight.shape
    return (
        channels <= _CHANNELS
        and channels * height * width <= _COLUMNS * filters
        and x.device.type == "cpu"
        and x.ndim == 4
        and x.requires_grad
        and not weight.requires_grad
        and (bias is None or not bias.requires_grad)
    )
