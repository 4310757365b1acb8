"""What an operation would return, as memory that nobody writes to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def shape_only(func: Any, args: Any, kwargs: Any) -> Any:
    """Return what ``func`` would, as untouched memory; views and in-place operations keep their aliasing."""
    out = _known(func._schema.name, args)
    if out is not None:
        return out
    returns = func._schema.returns
    if func._schema.name in _TURNS:  # in place, but of the sizes only
        return func(*args, **kwargs)
    if func._schema.is_mutable:
        written = [
            value
            for spec, value in zip(func._schema.arguments, _bound(func, args, kwargs), strict=True)
            if spec.alias_info is not None and spec.alias_info.is_write and value is not None
        ]
        if returns and all(r.alias_info is not None for r in returns):
            return written[0] if len(returns) == 1 else tuple(written)
    elif returns and returns[0].alias_info is not None:
        return func(*args, **kwargs)
    on_meta = [_each(a, _as_meta) for a in args], {k: _each(a, _as_meta) for k, a in kwargs.items()}
    if "device" in kwargs:
        on_meta[1]["device"] = "meta"
    device = next(a.device for a in flattened(args, kwargs) if isinstance(a, Tensor))
    return _each(
        func(*on_meta[0], **on_meta[1]),
        lambda t: torch.empty_strided(t.size(), t.stride(), dtype=t.dtype, device=device),
    )


def flattened(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the arguments of an operation; those in lists one by one."""
    for value in (*args, *kwargs.values()):
        if isinstance(value, tuple | list):
            yield from value
        else:
            yield value


def _each(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Return an argument or a result of an operation with its tensors replaced."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple | list):
        made = [_each(v, function) for v in value]
        return tuple(made) if isinstance(value, tuple) else made
    return value


def _as_meta(t: Tensor) -> Tensor:
    return torch.empty_strided(t.size(), t.stride(), dtype=t.dtype, device="meta")


_IN_PLACE = ("transpose_", "t_", "squeeze_", "unsqueeze_", "swapaxes_", "swapdims_")
_TURNS = {f"aten::{op}" for op in _IN_PLACE}

# Their results look like their first argument. Working that out anew takes torch a millisecond each.
_SAME_SHAPE = "relu silu gelu mish elu leaky_relu hardswish hardsigmoid hardtanh sigmoid tanh neg"
_LIKE = {f"aten::{op}" for op in _SAME_SHAPE.split()}
_BATCH_NORMS = {"aten::native_batch_norm": 5, "aten::_native_batch_norm_legit_no_training": None}
_PAIRS = {"aten::add", "aten::mul", "aten::sub", "aten::div"}


def _known(op: str, args: Sequence[Any]) -> Any:
    """Return the outputs of the operations that make up most of a network, without asking torch."""
    x = args[0] if args else None
    if not isinstance(x, Tensor) or not x.is_floating_point() or not x.is_contiguous():
        return None
    if op in _BATCH_NORMS:
        training = _BATCH_NORMS[op]
        return (
            (torch.empty_like(x), x.new_empty(0), x.new_empty(0))
            if not training or not args[training]
            else None
        )
    if op == "aten::native_layer_norm":
        size = (*x.shape[: x.dim() - len(args[1])], *(1 for _ in args[1]))
        return torch.empty_like(x), x.new_empty(size), x.new_empty(size)
    if op in _LIKE:
        return torch.empty_like(x)
    if op in _PAIRS:
        y = args[1]
        if not isinstance(y, Tensor) or y.dtype != x.dtype or y.dim() != x.dim() or not y.is_contiguous():
            return None
        pairs = list(zip(x.shape, y.shape, strict=True))
        fits = all(m == n or 1 in (m, n) for m, n in pairs)
        return x.new_empty([n if m == 1 else m for m, n in pairs]) if fits else None
    if op == "aten::mean" and len(args) == 3 and args[2]:
        dims = {d % x.dim() for d in args[1]}
        return x.new_empty([1 if d in dims else n for d, n in enumerate(x.shape)])
    if op == "aten::convolution" and not args[6] and x.dim() == args[1].dim():
        return _convolved(x, *args[1:6])
    return None


def _convolved(x: Tensor, weight: Tensor, _: Any, stride: Any, padding: Any, dilation: Any) -> Tensor | None:
    if not weight.is_contiguous() or x.dtype != weight.dtype:
        return None
    if x.size(1) != weight.size(1) * args[8]:
        return None  # torch says what is wrong
    space = []
    for d, (n, k) in enumerate(zip(x.shape[2:], weight.shape[2:], strict=True)):
        s, p, r = (v[d if len(v) > 1 else 0] for v in (stride, padding, dilation))
        space.append((n + 2 * p - r * (k - 1) - 1) // s + 1)
    return x.new_empty((x.size(0), weight.size(0), *space)) if min(space) > 0 else None


def _bound(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Any]:
    for position, spec in enumerate(func._schema.arguments):
        yield args[position] if position < len(args) else kwargs.get(spec.name, spec.default_value)
