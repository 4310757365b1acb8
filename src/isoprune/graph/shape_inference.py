"""The outputs of an operation by shape and type alone: memory is allocated and never written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from isoprune.graph.operations import Operation


def shape_only(func: Any, operation: Operation, args: Any, kwargs: Any) -> Any:
    """Return what ``func`` would, as untouched memory; views and in-place operations keep their aliasing."""
    if operation.shape is not None and _plain(args[0]):
        out = operation.shape(args)
        if out is not None:
            return out
    returns = func._schema.returns
    if operation.in_place:  # of the sizes only
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


def on_zeros(func: Any, args: Any, kwargs: Any) -> Any:
    """Return what ``func`` makes of zeros: for operations that read sizes from memory."""

    def zeros(t: Tensor) -> Tensor:
        return torch.zeros_like(t) if t.is_floating_point() or t.is_complex() else t

    return func(*(_each(a, zeros) for a in args), **{k: _each(a, zeros) for k, a in kwargs.items()})


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


def _bound(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Any]:
    for position, spec in enumerate(func._schema.arguments):
        yield args[position] if position < len(args) else kwargs.get(spec.name, spec.default_value)


# The operations that make up most of a network, whose sizes torch takes up to a millisecond each to work out.
# What comes in first is contiguous.


def _plain(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point() and x.is_contiguous()


def like_first(args: Sequence[Any]) -> Tensor:
    return torch.empty_like(args[0])


def broadcast(args: Sequence[Any]) -> Tensor | None:
    x, y = args[:2]
    if not _plain(y) or y.dtype != x.dtype or y.dim() != x.dim():
        return None
    pairs = list(zip(x.shape, y.shape, strict=True))
    fits = all(m == n or 1 in (m, n) for m, n in pairs)
    return x.new_empty([n if m == 1 else m for m, n in pairs]) if fits else None


def averaged(args: Sequence[Any]) -> Tensor | None:
    if len(args) < 3 or not args[1] or not args[2]:
        return None
    dims = {d % args[0].dim() for d in args[1]}
    return args[0].new_empty([1 if d in dims else n for d, n in enumerate(args[0].shape)])


def batch_normalized(training: int | None, args: Sequence[Any]) -> tuple[Tensor, ...] | None:
    x = args[0]
    if training is not None and args[training]:
        return None
    return torch.empty_like(x), x.new_empty(0), x.new_empty(0)


def layer_normalized(args: Sequence[Any]) -> tuple[Tensor, ...]:
    x, normalized = args[:2]
    size = (*x.shape[: x.dim() - len(normalized)], *(1 for _ in normalized))
    return torch.empty_like(x), x.new_empty(size), x.new_empty(size)


def convolved(args: Sequence[Any]) -> Tensor | None:
    x, weight, _, stride, padding, dilation, transposed = args[:7]
    if transposed or not _plain(weight) or x.dtype != weight.dtype or x.dim() != weight.dim():
        return None
    if x.size(1) != weight.size(1) * args[8]:
        return None  # torch says what is wrong
    space = []
    for d, (n, k) in enumerate(zip(x.shape[2:], weight.shape[2:], strict=True)):
        s, p, r = (v[d if len(v) > 1 else 0] for v in (stride, padding, dilation))
        space.append((n + 2 * p - r * (k - 1) - 1) // s + 1)
    return x.new_empty((x.size(0), weight.size(0), *space)) if min(space) > 0 else None
