"""The chain of operations on an input: which reshapes, Linear layers and activations it passes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

_RESHAPES = (torch.flatten, Tensor.flatten, torch.reshape, Tensor.reshape, Tensor.view, Tensor.unflatten)
_NAMES = (
    "relu relu6 leaky_relu elu selu celu gelu silu mish softplus softsign tanh tanhshrink sigmoid logsigmoid "
    "hardtanh hardsigmoid hardswish hardshrink softshrink threshold erf sin cos exp square abs"
)
_ELEMENTWISE = {
    getattr(owner, name)
    for base in _NAMES.split()
    for name in (base, f"{base}_")
    for owner in (torch, F, Tensor)
    if hasattr(owner, name)
}
_RELU = {F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
# They give no tensor and tell nothing of the values. `item` and `tolist` do: the forward may go by them.
_SIZES = {"size", "dim", "ndimension", "numel", "stride", "is_floating_point", "is_contiguous", "__len__"}


@dataclass(frozen=True)
class Link:
    """One operation on x: a reshape of each sample, a Linear, or the same function of every element."""

    kind: str  # "reshape", "linear" or "elementwise"
    apply: Callable[[Tensor], Tensor]
    weight: Tensor | None = None
    bias: Tensor | None = None
    # Of an elementwise one: whether its derivative is that of every sample; the derivative at h, if it is
    # known. (A backward takes several times as long as this one.)
    constant: bool = False
    derivative: Callable[[Tensor], Tensor] | None = None


class Path:
    """Sees where an x goes. ``z``, if any, is given for what the first Linear makes, and no more is seen."""

    def __init__(self, z: Tensor | None = None) -> None:
        self.z = z
        self.samples = 0
        self.links: list[Link] = []
        self.left: float = math.inf  # the first link after which something else was made of x
        self.complete = False

    def follow(self, x: Tensor) -> Tensor:
        """Return x as a tensor whose every use is seen."""
        self.samples = len(x)
        return _followed(x, self, 0)

    def arrive(self, y: Tensor) -> Tensor:
        """Note whether the outputs are what the last link made; return them as a plain tensor."""
        if not isinstance(y, _Followed):
            return y
        linear = any(link.kind == "linear" for link in self.links)
        self.complete = linear and self.left == math.inf and y.place == len(self.links)
        with torch._C.DisableTorchFunctionSubclass():
            return y.as_subclass(Tensor)

    @property
    def first_linear(self) -> Link | None:
        """The Linear that x, reshaped, goes into and into nothing else."""
        for place, link in enumerate(self.links):
            if link.kind != "reshape":
                return link if link.kind == "linear" and self.left > place else None
        return None

    def use(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what ``func`` gives, x among its arguments; to be called with following switched off."""
        uses = [t for t in _leaves(args, kwargs) if isinstance(t, _Followed)]
        if self.z is not None and func is F.linear and uses[0] is args[0]:
            return self.z
        out = func(*args, **kwargs)
        if not isinstance(out, Tensor):
            name = getattr(func, "__name__", "")
            if name not in {*_SIZES, "__get__"}:
                self._leave(uses)
            return out
        if len(uses) > 1 or not args or uses[0] is not args[0] or uses[0].place != len(self.links):
            return self._leave(uses, out)
        if func is F.dropout and not kwargs.get("training", args[2] if len(args) > 2 else True):
            return _followed(out, self, len(self.links))
        link = self._link(func, args, kwargs, out)
        if link is None:
            return self._leave(uses, out)
        self.links.append(link)
        return _followed(out, self, len(self.links))

    def _leave(self, uses: list[_Followed], out: Any = None) -> Any:
        self.left = min(self.left, *(t.place for t in uses))
        return out

    def _link(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Link | None:
        """Return the operation as a link, if it is one and all else that goes into it is constant."""
        x, others = args[0], _leaves(args[1:], kwargs)
        if any(isinstance(t, Tensor) and t.requires_grad for t in others):
            return None
        if func in _RESHAPES and len(out) == self.samples:
            shape = out.shape[1:]  # a view may name the number of samples, which will be another
            return Link("reshape", lambda h: h.reshape(len(h), *shape))
        if func is F.linear and not kwargs and x.ndim == 2:
            weight, bias = args[1].detach(), args[2] if len(args) > 2 else None
            return Link("linear", lambda h: F.linear(h, weight, bias), weight, bias)
        normalized = func is F.batch_norm and not kwargs.get("training", args[5] if len(args) > 5 else False)
        if (normalized or func in _ELEMENTWISE) and x.ndim > 1 and out.shape == x.shape:
            rest = args[1:]
            derivative = _step if func in _RELU else None
            return Link(
                "elementwise",
                lambda h: func(h, *rest, **kwargs),
                constant=normalized,
                derivative=derivative,
            )
        return None


def _step(h: Tensor) -> Tensor:
    """Return the derivative of ReLU: torch's, zero at zero."""
    return (h > 0).to(h.dtype)


def _leaves(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Return what stands in the arguments, at any depth."""
    flat = [*args, *kwargs.values()]
    return tree_leaves(flat) if any(isinstance(t, tuple | list | dict) for t in flat) else flat


class _Followed(Tensor):
    path: Path
    place: int  # after so many links

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        followed = next(t for t in _leaves(args, kwargs) if isinstance(t, cls))
        with torch._C.DisableTorchFunctionSubclass():
            return followed.path.use(func, args, kwargs)


def _followed(x: Tensor, path: Path, place: int) -> Tensor:
    same = x.as_subclass(_Followed)
    same.path, same.place = path, place
    return same
