"""Where the input goes straight into a wide Linear, the Jacobian need not be taken all the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

from isoprune.isometry.function import Alone, SampleFunction

_RESHAPES = (torch.flatten, Tensor.flatten, torch.reshape, Tensor.reshape, Tensor.view)
_AGREEMENT = {torch.float32: 1e-4, torch.float64: 1e-10}


@dataclass(frozen=True)
class ShortWay:
    """``inner``: a network as a function of its first Linear's output h; ``rest``: L, as told there."""

    inner: SampleFunction
    rest: Tensor
    weight: Tensor
    alone: Alone

    def agrees(self, J: Tensor) -> bool:
        """Tell whether the first sample's dy/dh leads to its dy/dx.

        It does not if x is used where no watch sees it, in an operation from outside torch.
        """
        want = self.alone.pulled.flatten(1)
        off = (self.alone.cotangent @ J @ self.weight - want).abs().max()
        return float(off) <= _AGREEMENT[J.dtype] * float(want.abs().max())


def through_first_linear(f: SampleFunction, watched: FirstLinear, room: int) -> ShortWay | None:
    r"""Return f as a function of its first Linear's output h, and L: (dy/dh) L stands for dy/dx.

    If :math:`h = W x + b` is all that x goes into, dy/dx = (dy/dh) W, and with :math:`W = L Q`, Q orthonormal
    rows, the singular values are those of (dy/dh) L: for the paper's MLP, 100 columns in place of 1024. Where
    x goes into anything else, or W is not wide, there is no such way. Nor is it taken where factoring W takes
    longer than what it saves (it has more rows than all the Jacobians), or more than ``room`` bytes.

    Args:
        watched: What saw the first sample's forward.
    """
    W, bias = watched.weight, watched.bias
    if W is None or watched.elsewhere or W.shape[0] >= W.shape[1] or f.x[0].numel() != W.shape[1]:
        return None
    if W.shape[0] > len(f.x) * f.outputs or 2 * W.nbytes > room:
        return None

    def evaluate(z: Tensor, rows: Tensor) -> Tensor:
        return f(FirstLinear(z).follow(f.x.index_select(0, rows)), rows)

    L = torch.linalg.qr(W.mT, mode="r")[1].mT
    inner = _Inner(f.x, evaluate, f.outputs, f.constants, f.kept + L.nbytes, f.alone, W, bias)
    return ShortWay(inner, L, W, f.alone)


@dataclass(frozen=True)
class _Inner(SampleFunction):
    weight: Tensor
    bias: Tensor | None

    def leaf(self, rows: Tensor) -> Tensor:
        x = self.x.index_select(0, rows).flatten(1)
        return F.linear(x, self.weight, self.bias).requires_grad_()


class FirstLinear:
    """Sees where an x goes through reshapes; gives ``z``, if any, for what the Linear it goes into makes."""

    def __init__(self, z: Tensor | None = None) -> None:
        self.z = z
        self.samples = 0
        self.weight: Tensor | None = None
        self.bias: Tensor | None = None
        self.elsewhere = False

    def follow(self, x: Tensor) -> Tensor:
        """Return x as a tensor whose every use is seen."""
        self.samples = len(x)
        return _followed(x, self)

    def use(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what ``func`` gives, x among its arguments; to be called with following switched off."""
        x = args[0] if args else None
        straight = func is F.linear and not kwargs and isinstance(x, _Followed) and x.ndim == 2
        if straight and self.weight is None:
            self.weight, self.bias = args[1].detach(), args[2] if len(args) > 2 else None
            return func(*args) if self.z is None else self.z
        out = func(*args, **kwargs)
        if func in _RESHAPES and isinstance(out, Tensor) and len(out) == self.samples:
            return _followed(out, self)
        if isinstance(out, Tensor):  # not a size or a type, which tell nothing of the values
            self.elsewhere = True
        return out


class _Followed(Tensor):
    watched: FirstLinear

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        followed = next(t for t in tree_leaves((args, kwargs)) if isinstance(t, cls))
        with torch._C.DisableTorchFunctionSubclass():
            return followed.watched.use(func, args, kwargs)


def _followed(x: Tensor, watched: FirstLinear) -> Tensor:
    same = x.as_subclass(_Followed)
    same.watched = watched
    return same
