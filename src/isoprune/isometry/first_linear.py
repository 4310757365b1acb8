"""Where the input goes straight into a wide Linear, the Jacobian need not be taken all the way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from isoprune.isometry.function import SampleFunction

_RESHAPES = (torch.flatten, Tensor.flatten, torch.reshape, Tensor.reshape, Tensor.view)
_AGREEMENT = {torch.float32: 1e-4, torch.float64: 1e-10}


def through_first_linear(f: SampleFunction) -> tuple[SampleFunction, Tensor | None]:
    r"""Return f as a function of its first Linear's output h, and L: (dy/dh) L stands for dy/dx.

    If :math:`h = W x + b` is all that x goes into, dy/dx = (dy/dh) W, and with :math:`W = L Q`, Q orthonormal
    rows, the singular values are those of (dy/dh) L: for the paper's MLP, 100 columns in place of 1024. Where
    x goes into anything else, or W is not wide, f itself comes back, with None.
    """
    one = f.rows(0, 1)
    x = f.leaf(one)
    watch = _FirstLinear(x, None)
    with watch:
        y = f(x, one)
    W = watch.weight
    if W is None or watch.elsewhere or W.shape[0] >= W.shape[1] or x.numel() != W.shape[1]:
        return f, None
    h = F.linear(f.x.flatten(1), W, watch.bias)

    def evaluate(z: Tensor, rows: Tensor) -> Tensor:
        inputs = f.x[rows]
        with _FirstLinear(inputs, z):
            return f(inputs, rows)

    inner = replace(f, x=h, evaluate=evaluate)
    # A use of x that no watch sees (an operation from outside torch) shows here.
    z = inner.leaf(one)
    u = torch.linspace(1, 2, y.shape[1], dtype=y.dtype, device=y.device)[None]
    want = torch.autograd.grad(y, x, u)[0].flatten(1)
    out = inner(z, one)
    if not out.requires_grad:
        return f, None
    got = torch.autograd.grad(out, z, u, materialize_grads=True)[0] @ W
    if not torch.allclose(got, want, rtol=0, atol=_AGREEMENT[y.dtype] * float(want.abs().max())):
        return f, None
    return inner, torch.linalg.qr(W.mT, mode="r")[1].mT


class _FirstLinear(TorchFunctionMode):
    """Follows x through reshapes into Linear layers; gives ``z`` for the output of the one it goes into."""

    def __init__(self, x: Tensor, z: Tensor | None) -> None:
        super().__init__()
        self.same = [x]  # held on to, so that no other tensor gets their identity
        self.z = z
        self.weight: Tensor | None = None
        self.bias: Tensor | None = None
        self.elsewhere = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        held = {id(t) for t in self.same}
        touched = any(id(a) in held for a in (*args, *kwargs.values()))
        if not touched:
            if any(id(a) in held for group in args if isinstance(group, (list, tuple)) for a in group):
                self.elsewhere = True
            return func(*args, **kwargs)
        if (
            func is F.linear
            and not kwargs
            and id(args[0]) in held
            and args[0].ndim == 2
            and self.weight is None
        ):
            self.weight, self.bias = args[1].detach(), args[2] if len(args) > 2 else None
            return func(*args) if self.z is None else self.z
        out = func(*args, **kwargs)
        if func in _RESHAPES and isinstance(out, Tensor) and len(out) == len(self.same[0]):
            self.same.append(out)
        elif isinstance(out, Tensor):  # not a size or a type, which tell nothing of the values
            self.elsewhere = True
        return out
