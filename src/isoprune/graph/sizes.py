"""Sizes in a forward that come from attributes of modules, and which attribute each comes from.

`x.view(b, n, self.num_heads, self.head_dim)` names its sizes. During a trace the integer attributes of
the (copied) modules are integers that remember where they stood; when one arrives as a size of a
tensor, that is a claim: after pruning, the attribute must hold the new size of that dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from types import CodeType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from isoprune.graph.cloning import named_modules
from isoprune.graph.labels import Planes
from isoprune.graph.reads import HOST
from isoprune.graph.value_flow import frames

if TYPE_CHECKING:
    from isoprune.graph.tracer import Tracer

WHOLE = Fraction(1)
Partner = tuple[str, str, str] | None  # sign, module and attribute


class _Size(int):
    """An integer that is copied and pickled as a plain one."""

    def __deepcopy__(self, memo: Any) -> int:
        return int(self)

    def __reduce__(self) -> Any:
        return (int, (int(self),))


class TensorSize(_Size):
    """A size that remembers the channels it was read from; comparing an attribute with it is a claim."""

    claim: Callable[[NamedSize], None]

    def __new__(cls, value: int, claim: Callable[[NamedSize], None]) -> TensorSize:
        self = super().__new__(cls, value)
        self.claim = claim
        return self

    def __eq__(self, other: object) -> bool:
        equal = int.__eq__(self, other)  # pyright: ignore[reportArgumentType]  NotImplemented is no answer here
        if equal is True and isinstance(other, NamedSize):
            self.claim(other)
        return equal

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = int.__hash__


class NamedSize(_Size):
    """An integer that remembers the module and the attribute it was read from, times a factor."""

    module: str
    attribute: str
    factor: Fraction
    partner: Partner  # another attribute that was subtracted, multiplied with, or divided by

    def __new__(
        cls, value: int, module: str, attribute: str, factor: Fraction = WHOLE, partner: Partner = None
    ) -> NamedSize:
        self = super().__new__(cls, value)
        self.module, self.attribute, self.factor, self.partner = module, attribute, factor, partner
        return self

    def _with(self, other: Any, op: str, value: Any) -> Any:
        """Return ``value``, made of this and ``other``; a plain integer if three attributes are in it."""
        if isinstance(other, NamedSize):
            if self.partner or other.partner or other.factor != 1 or (op == "-" and self.factor != 1):
                return value
            partner = (op, other.module, other.attribute)
            return NamedSize(value, self.module, self.attribute, self.factor, partner)
        if self.partner or type(other) not in (int, TensorSize) or not other or op == "-":
            return value
        other = int(other)
        factor = self.factor * other if op == "*" else self.factor / other
        return NamedSize(value, self.module, self.attribute, factor)

    def __mul__(self, other: Any) -> Any:
        return self._with(other, "*", int(self) * _plain(other))

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        return self._with(other, "/", int(self) // _plain(other))

    def __sub__(self, other: Any) -> Any:
        return self._with(other, "-", int(self) - _plain(other))

    def __eq__(self, other: object) -> bool:
        return other == self if isinstance(other, TensorSize) else int(self) == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = int.__hash__


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, _Size) else value


@dataclass(frozen=True)
class SizeClaim:
    """``module.attribute * factor`` is the size of dimension ``dim`` of a tensor with these planes.

    An attribute "shape.0" is the first entry of a tuple. ``partner``: the sign of the operation, module
    and attribute of what was subtracted ("-"), multiplied with ("*") or divided by ("/").
    """

    module: str
    attribute: str
    planes: Planes
    shape: torch.Size
    dim: int
    factor: Fraction = WHOLE
    partner: Partner = None


@contextmanager
def named_sizes(model: nn.Module) -> Iterator[None]:
    """Let the integers (and tuples of them) of ``model``'s modules remember their names, for a while."""
    changed: list[tuple[nn.Module, str, Any]] = []
    for name, module in named_modules(model):
        for attribute, value in list(vars(module).items()):
            if attribute.startswith("_"):
                continue
            if type(value) is int:
                vars(module)[attribute] = NamedSize(value, name, attribute)
                changed.append((module, attribute, value))
            elif type(value) in (tuple, list) and value and all(type(v) is int for v in value):
                named = [NamedSize(v, name, f"{attribute}.{i}") for i, v in enumerate(value)]
                vars(module)[attribute] = type(value)(named)
                changed.append((module, attribute, value))
    try:
        yield
    finally:
        for module, attribute, value in changed:
            vars(module)[attribute] = value


class SizeWatch(TorchFunctionMode):
    """Records a `SizeClaim` for each named size among the arguments of shape functions.

    Constants of equal values whose size an attribute or another tensor gave can be of any width: they are
    labelled. ``labelled``: the numbers of those in this call, if they are known from a recording.
    """

    def __init__(self, tracer: Tracer, labelled: Collection[int] | None = None) -> None:
        super().__init__()
        self.tracer, self.known, self.labelled, self.constants = tracer, labelled, list[int](), 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        if name in HOST:
            return self.tracer.host(lambda: func(*args, **kwargs), name, args[0])
        out = func(*args, **kwargs)
        if func is Tensor.size or func is Tensor.__len__ or getattr(func, "__self__", None) is Tensor.shape:
            self.tracer.size_readers.add(_running())
            return out if func is Tensor.__len__ else self._sizes(args[0], out, args, kwargs)
        handler = _HANDLERS.get(name)
        if name in _UNIFORM and (out.is_floating_point() or out.is_complex()):
            self._constant(out, handler, args, kwargs)
        for size, tensor, dim in handler(out, args, kwargs) if handler else ():
            if isinstance(size, NamedSize) and isinstance(tensor, Tensor):
                self._claim(self.tracer.planes(tensor), tensor.shape, dim % tensor.dim(), size)
        return out

    def _claim(self, planes: Planes, shape: torch.Size, dim: int, size: NamedSize) -> None:
        self.tracer.claims.append(
            SizeClaim(size.module, size.attribute, planes, shape, dim, size.factor, size.partner)
        )

    def _sizes(self, tensor: Tensor, out: Any, args: Any, kwargs: Any) -> Any:
        """Return the size or sizes of a tensor; those of channels remember that."""
        planes = self.tracer.planes_of_sizes(tensor)
        dims = {d for p in planes for d in p.dims}
        if not dims:
            return out
        claim = partial(self._claim, planes, tensor.shape)  # a size may live longer than its tensor
        if isinstance(out, int):
            dim = (args[1] if len(args) > 1 else kwargs["dim"]) % tensor.dim()
            return TensorSize(out, partial(claim, dim)) if dim in dims else out
        return torch.Size(TensorSize(n, partial(claim, d)) if d in dims else n for d, n in enumerate(out))

    def _constant(self, out: Tensor, handler: Any, args: Any, kwargs: Any) -> None:
        self.constants += 1
        dims = [d for size, _, d in handler(out, args, kwargs) if isinstance(size, _Size)]
        if self.constants in self.known if self.known is not None else dims:
            self.labelled.append(self.constants)
            self.tracer.label_constant(out, dims)


def _running() -> CodeType | None:
    frame = next(frames(), None)
    return None if frame is None else frame.f_code


_Sizes = Iterator[tuple[Any, Any, int]]


def _view(out: Any, args: Any, kwargs: Any) -> _Sizes:
    sizes = args[1] if len(args) == 2 and isinstance(args[1], tuple | list) else args[1:]
    sizes = kwargs.get("shape", kwargs.get("size", sizes))
    for dim, size in enumerate(sizes):
        yield size, out, dim


def _unflatten(out: Any, args: Any, kwargs: Any) -> _Sizes:
    dim, sizes = args[1] if len(args) > 1 else kwargs["dim"], args[2] if len(args) > 2 else kwargs["sizes"]
    for i, size in enumerate(sizes):
        yield size, out, (dim % args[0].dim()) + i


def _split(out: Any, args: Any, kwargs: Any) -> _Sizes:
    sizes = args[1] if len(args) > 1 else next(iter(kwargs.values()))
    dim = args[2] if len(args) > 2 else kwargs.get("dim", 0)
    for size, piece in zip(sizes if isinstance(sizes, tuple | list) else [sizes], out, strict=False):
        yield size, piece, dim


def _getitem(out: Any, args: Any, _: Any) -> _Sizes:
    index = args[1] if isinstance(args[1], tuple) else (args[1],)
    if any(not isinstance(i, slice) for i in index):
        return
    for dim, part in enumerate(index):
        # A bound that is a tensor would be read if it were asked for its truth.
        if isinstance(part.stop, NamedSize) and not (
            isinstance(part.start, Tensor) or part.start or part.step
        ):
            yield part.stop, out, dim


def _narrow(out: Any, args: Any, _: Any) -> _Sizes:
    if len(args) == 4:
        yield args[3], out, args[1]


def _convolution(_: Any, args: Any, kwargs: Any) -> _Sizes:
    groups = args[6] if len(args) > 6 else kwargs.get("groups")
    if isinstance(groups, int) and groups == args[0].size(1):  # depthwise
        yield groups, args[0], 1


def _filled(out: Any, args: Any, kwargs: Any) -> _Sizes:
    sizes = kwargs.get("size", args[0] if args and isinstance(args[0], tuple | list) else args)
    for dim, size in enumerate(sizes):
        yield size, out, dim


def _filled_alike(out: Any, args: Any, kwargs: Any) -> _Sizes:
    yield from _filled(out, args[1:], kwargs)


def _normalized(_: Any, args: Any, kwargs: Any) -> _Sizes:
    sizes = args[1] if len(args) > 1 else kwargs["normalized_shape"]
    for dim, size in enumerate(sizes, -len(sizes)):
        yield size, args[0], dim


_UNIFORM = {
    **dict.fromkeys(("zeros", "ones", "full", "empty"), _filled),
    **dict.fromkeys(("new_zeros", "new_ones", "new_full", "new_empty"), _filled_alike),
}
_HANDLERS: dict[str, Callable[[Any, Any, Any], _Sizes]] = {
    "view": _view,
    "reshape": _view,
    "expand": _view,
    "unflatten": _unflatten,
    "split": _split,
    "split_with_sizes": _split,
    "__getitem__": _getitem,
    "narrow": _narrow,
    "conv1d": _convolution,
    "conv2d": _convolution,
    "layer_norm": _normalized,
    "rms_norm": _normalized,
    **_UNIFORM,
}
