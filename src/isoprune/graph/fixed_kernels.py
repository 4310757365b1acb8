"""A forward whose operations do not depend on memory layout or on which fused kernel fits.

`linear` and `matmul` are made of other operations (view and addmm, or expand and bmm) according to the
strides of what they are given; attention picks a kernel by its widths. The dense and the small network
must go through the same operations to be compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

_RECURRENT = {"lstm", "gru", "rnn_tanh", "rnn_relu"}
_PRODUCTS = {torch.matmul, Tensor.matmul, Tensor.__matmul__}


class _Contiguous(TorchFunctionMode):
    """Hands contiguous operands to `linear` and `matmul`, and takes recurrent layers and distances apart."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear and args:
            args = (_contiguous(args[0]), *args[1:])
        elif func in _PRODUCTS:
            args = tuple(map(_contiguous, args))
        elif func is torch.cdist:
            return _distances(*args, **(kwargs or {}))
        elif getattr(func, "__name__", "") in _RECURRENT:
            with _without_onednn():  # its kernel would hide the gates
                return func(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _contiguous(t: Tensor) -> Tensor:
    return t.contiguous() if t.layout is torch.strided else t


def _distances(x1: Tensor, x2: Tensor, p: float = 2.0, **_: Any) -> Tensor:
    """`torch.cdist`, which takes another kernel for many points, as norms of differences."""
    return torch.linalg.vector_norm(x1.unsqueeze(-2) - x2.unsqueeze(-3), p, -1)


@contextmanager
def _without_onednn() -> Iterator[None]:
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)  # `torch.backends.mkldnn.flags` warns on some builds
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)


@contextmanager
def with_fixed_kernels() -> Iterator[None]:
    """Run the block with products, attention and recurrent layers decomposed alike at any strides."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it would hide the heads
    try:
        with sdpa_kernel(SDPBackend.MATH), _Contiguous():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
