"""The numbers among the arguments of an operation that are values, and not sizes or positions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from torch import Tensor

_SMALL = 16  # elements of a constant that is compared by value
_VALUES = {"Tensor", "number", "float", "Optional[number]", "Optional[float]", "List[float]"}


def numbers_of(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[float]:
    """Yield the floats, and the whole numbers where the operation takes any number (`x / 16`)."""
    places, names = _places(func)
    for i, value in enumerate(args):
        if type(value) is float or (type(value) is int and i in places):
            yield float(value)
    for name, value in kwargs.items():
        if type(value) is float or (type(value) is int and name in names):
            yield float(value)


@cache
def _places(func: Any) -> tuple[frozenset[int], frozenset[str]]:
    found = [(i, a.name) for i, a in enumerate(func._schema.arguments) if str(a.type) in _VALUES]
    return frozenset(i for i, _ in found), frozenset(name for _, name in found)


def values_of(tensors: Sequence[Tensor]) -> tuple[str, ...]:
    """Return the types and values of small tensors, as text: NaN is equal to NaN then."""
    return tuple(f"{t.dtype} {t.tolist()}" for t in tensors if t.numel() <= _SMALL)
