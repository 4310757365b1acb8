"""Block Golub-Kahan: a small bidiagonal matrix in place of a large one that is never formed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_EXHAUSTED = 100.0  # in eps of the products' type and the norm of J^T U_0: what rounding leaves of nothing

Product = Callable[[Tensor], Tensor]  # [n, size, k] -> [n, other size, k]


@dataclass(frozen=True)
class Krylov:
    r"""What ``steps`` block steps from the start :math:`U_0` say about J, for n matrices at a time.

    ``small`` [n, (steps + 1) b, steps b] is :math:`U^\top J V` in orthonormal bases U, V of the block Krylov
    spaces; it is block lower bidiagonal, and its leading parts are what fewer steps would have said. ``left``
    is U without the last block.
    """

    small: Float[Tensor, "n rows columns"]
    left: Float[Tensor, "n size columns"]
    first: Float[Tensor, "n larger block"]
    block: int

    @property
    def steps(self) -> int:
        return self.small.shape[2] // self.block


def golub_kahan(push: Product, pull: Product, start: Float[Tensor, "n size block"], steps: int) -> Krylov:
    r"""Return ``steps`` steps of block Golub-Kahan bidiagonalisation, fully reorthogonalised.

    :math:`J^\top U_j = V_j R_j + V_{j-1} S_{j-1}^\top` and :math:`J V_j = U_{j+1} S_j + U_j R_j^\top`: the
    block Lanczos process for :math:`J J^\top` (Golub & Underwood, 1977) without squaring the small singular
    values away.

    Args:
        push: v -> J v.
        pull: u -> J^T u.
        start: Orthonormal columns.
    """
    n, _, b = start.shape
    small = torch.zeros(n, (steps + 1) * b, steps * b, dtype=torch.float64, device=start.device)
    first = pull(start)
    left, right = start, first[:, :, :0]
    newest, image = start, first
    floor = _EXHAUSTED * torch.finfo(start.dtype).eps * first.double().norm(dim=(1, 2))
    for j in range(steps):
        here, below = slice(j * b, (j + 1) * b), slice((j + 1) * b, (j + 2) * b)
        Q, R = _orthonormal(image, right, floor)
        right = torch.cat([right, Q], dim=2)
        small[:, here, here] = R.mT
        Q, S = _orthonormal(push(Q), left, floor)
        small[:, below, here] = S
        newest = Q
        if j + 1 < steps:
            left = torch.cat([left, Q], dim=2)
            image = pull(newest)
    return Krylov(small, left, first, b)


def _orthonormal(W: Tensor, basis: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
    """Return Q, R with Q R = W less its part in ``basis``; Q orthonormal, and orthogonal to ``basis``.

    Where nothing above ``floor`` [n] is left (the space is exhausted), Q has columns of zeros: they stay zero
    in all that follows, where a made-up direction would pass for a finding.
    """
    Q, R = torch.linalg.qr(W - basis @ (basis.mT @ W))
    # Once more for what rounding left: twice is enough (Parlett), also where W was in the span.
    Q, again = torch.linalg.qr(Q - basis @ (basis.mT @ Q))
    # By singular values: an unpivoted R hides a dependent column in the others.
    A, sizes, Bh = torch.linalg.svd((again @ R).double())
    alive = (sizes > floor[:, None]).double()
    return Q @ (A * alive[:, None]).to(Q), (sizes * alive)[:, :, None] * Bh
