"""Where the input goes straight into a wide Linear, the Jacobian need not be taken all the way."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from isoprune.isometry.function import SampleFunction
from isoprune.isometry.path import Link, Path

_AGREEMENT = {torch.float32: 1e-4, torch.float64: 1e-10}


@dataclass(frozen=True)
class ShortWay:
    """``inner``: a network as a function of its first Linear's output h; ``rest``: the L of W = L Q."""

    inner: SampleFunction
    rest: Tensor
    weight: Tensor
    cotangent: Tensor
    pulled: Tensor

    def agrees(self, J: Tensor) -> bool:
        """Tell whether the first sample's dy/dh leads to its dy/dx.

        It does not if x is used where no path sees it, in an operation from outside torch.
        """
        want = self.pulled.flatten(1)
        off = (self.cotangent @ J @ self.weight - want).abs().max()
        return float(off) <= _AGREEMENT[J.dtype] * float(want.abs().max())


def through_first_linear(f: SampleFunction, path: Path, room: int) -> ShortWay | None:
    r"""Return f as a function of its first Linear's output h, and L: (dy/dh) L stands for dy/dx.

    If :math:`h = W x + b` is all that x goes into, dy/dx = (dy/dh) W, and with :math:`W = L Q`, Q orthonormal
    rows, the singular values are those of (dy/dh) L: 100 columns in place of 1024, say. Where x goes into
    anything else, or W is not wide, there is no such way. Nor is it taken where factoring W takes longer than
    what it saves (it has more rows than all the Jacobians), or more than ``room`` bytes.
    """
    link, pulled = path.first_linear, f.alone.pulled
    if link is None or link.weight is None or pulled is None or f.x[0].numel() != link.weight.shape[1]:
        return None
    W = link.weight
    if not len(W) < W.shape[1] or len(W) > len(f.x) * f.outputs or 2 * W.nbytes > room:
        return None

    def evaluate(z: Tensor, rows: Tensor) -> Tensor:
        return f(Path(z).follow(f.x.index_select(0, rows)), rows)

    L = torch.linalg.qr(W.mT, mode="r")[1].mT
    inner = _Inner(f.x, evaluate, f.outputs, f.constants, f.kept + L.nbytes, f.alone, link)
    return ShortWay(inner, L, W, f.alone.cotangent, pulled)


@dataclass(frozen=True)
class _Inner(SampleFunction):
    link: Link

    def leaf(self, rows: Tensor) -> Tensor:
        return self.link.apply(self.x.index_select(0, rows).flatten(1)).requires_grad_()
