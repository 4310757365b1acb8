"""Other values that a forward could have read, which would lead it into another branch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isoprune.graph.value_flow import decided

_MOST, _MOST_SIZES = 16, 5  # other answers of one reading; other sizes of one
_SIZED_BY_VALUES = {"bincount", "_unique", "_unique2", "unique_dim", "unique_consecutive", "nms"}
_FAR = {float: 1000.0, int: 64}  # beyond what an attribute holds; no loop takes long for it


def others(value: Any, *, flag: bool = False, followed: bool = False) -> tuple[Any, ...]:
    """Return other answers that may lead elsewhere.

    Args:
        value: What Python takes: a bool, a number, a list, an array.
        flag: Whether it is made of a single whole number that the caller gave: a task, or a class.
        followed: Whether its own comparisons are answers of their own.
    """
    if isinstance(value, bool):
        return (not value,)
    if flag and isinstance(value, int):
        # A task or class that an input names: the first few, as far as the network has them.
        return tuple(n for n in range(4) if n != value)
    numbers = tuple(_first_numbers(value))
    if not numbers:
        return ()
    how = decided()
    if how is None or (followed and not how.opaque):
        return ()
    first, kind = numbers[0], type(numbers[0])
    far = _FAR[kind]
    near = [first + 1, first - far, first + far, *(n + d for n in how.numbers for d in (1, -1, 0))]
    near = list(dict.fromkeys(kind(n) for n in near))
    if isinstance(value, float | int):
        return tuple(n for n in near if n != value)[:_MOST]
    return (*_moved(value), *(_filled(value, n) for n in near))[:_MOST]


def other_positions(positions: Sequence[Tensor], shape: Sequence[int]) -> tuple[Any, ...]:
    """Return other numbers of positions that an operation could have found in a tensor of this shape."""
    how = decided()
    size = int(np.prod(shape))
    if how is None or not how.sizes or not size:
        return ()
    counts = dict.fromkeys(int(n) + d for n in how.numbers for d in (1, 0, -1))
    own = len(positions[0]) if positions else 0
    others = [n for n in counts if 0 <= n <= size and n != own][:_MOST_SIZES]
    return tuple(tuple(torch.unravel_index(torch.arange(n), tuple(shape))) for n in others)


def other_lengths(name: str, out: Any, source: Tensor) -> tuple[Any, ...]:
    """Return what an operation whose result has a size that values decide could have found instead."""
    if name in ("nonzero", "argwhere"):
        found = other_positions(out.unbind(1), source.shape)
        return tuple(torch.stack(positions, 1) if positions else out[:0] for positions in found)
    how = decided()
    if name not in _SIZED_BY_VALUES or how is None or not how.sizes:
        return ()
    first = out[0] if isinstance(out, tuple) else out
    counts = dict.fromkeys(int(n) + d for n in how.numbers for d in (1, 0, -1))
    sizes = [n for n in counts if 0 <= n <= source.numel() and n != len(first)][:_MOST_SIZES]

    def cut(t: Tensor, n: int) -> Tensor:
        return t[torch.arange(n) % max(len(t), 1)] if t.shape[:1] == first.shape[:1] else t.clone()

    return tuple(tuple(cut(t, n) for t in out) if isinstance(out, tuple) else cut(out, n) for n in sizes)


def other_results(name: str, tensors: Sequence[Tensor], flag: bool, value: Any) -> tuple[Any, ...]:
    """Return other answers of an operation than ``value``."""
    if isinstance(value, Tensor | tuple | list):
        return other_lengths(name, value, tensors[0])
    return others(value, flag=flag, followed=name == "_local_scalar_dense")


def _first_numbers(value: Any) -> Iterator[float | int]:
    """Yield the first number of an answer; nothing if there is none."""
    if type(value) in (float, int):
        yield value
    elif isinstance(value, np.ndarray | np.generic):
        if value.size and value.dtype.kind in "fiub":
            kind = float if value.dtype.kind == "f" else int
            yield kind(value.reshape(-1)[0])
    elif isinstance(value, list) and value:
        yield from _first_numbers(int(value[0]) if isinstance(value[0], bool) else value[0])


def _filled(value: Any, number: float | int) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        low, high = (0, 1) if value.dtype.kind == "b" else (-np.inf, np.inf)
        low = 0 if value.dtype.kind == "u" else low
        return np.full_like(value, min(max(number, low), high))
    return _each(value, lambda v: type(v)(number))


def _each(value: Any, function: Callable[[Any], Any]) -> Any:
    return [_each(v, function) for v in value] if isinstance(value, list) else function(value)


def _moved(value: Any) -> Iterator[Any]:
    """Yield the same values in other orders, further apart, and all unlike."""
    flat = np.asarray(value).reshape(-1) if isinstance(value, list | np.ndarray) else np.zeros(0)
    if flat.size < 2 or flat.dtype.kind not in "fiu":
        return
    wide, unlike = (flat * 64).astype(flat.dtype), np.arange(flat.size).astype(flat.dtype)
    for moved in (np.roll(flat, 1), flat[::-1], wide, unlike, unlike[::-1]):
        if isinstance(value, np.ndarray):
            yield moved.reshape(value.shape).copy()
        else:
            left = iter(moved.tolist())
            yield _each(value, lambda v, left=left: type(v)(next(left)))
