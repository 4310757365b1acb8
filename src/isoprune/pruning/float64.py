"""Networks in float64, where sums in another order agree to ten digits and more, so errors show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from isoprune.graph.dispatch_mode import DispatchMode

_WIDE = {
    **dict.fromkeys((torch.float32, torch.float16, torch.bfloat16), torch.float64),
    **dict.fromkeys((torch.complex64, torch.complex32), torch.complex128),
}


def widened(tensor: Tensor) -> Tensor:
    """Return a copy in float64 (or complex128) of a tensor of fewer digits, and a plain copy of any other."""
    wide = _WIDE.get(tensor.dtype)
    return tensor.clone() if wide is None else tensor.to(wide)


class _Widening(DispatchMode):
    """Lets nothing be rounded to fewer digits, although a forward asks for it (a softmax in float32)."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if (dtype := kwargs.get("dtype")) in _WIDE and func is not torch.ops.aten.view.dtype:
            kwargs["dtype"] = _WIDE[dtype]
        narrow = any(isinstance(a, Tensor) and a.dtype in _WIDE for a in (*args, *kwargs.values()))
        if narrow and not func._schema.is_mutable and not any(r.alias_info for r in func._schema.returns):
            args, kwargs = tree_map_only(Tensor, _as_wide, (args, kwargs))
        return func(*args, **kwargs)


def _as_wide(tensor: Tensor) -> Tensor:
    wide = _WIDE.get(tensor.dtype)
    return tensor if wide is None else tensor.to(wide)


@contextmanager
def in_float64() -> Iterator[None]:
    """Compute the block in float64, constants that a forward makes included."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Widening():
            yield
    finally:
        torch.set_default_dtype(before)
