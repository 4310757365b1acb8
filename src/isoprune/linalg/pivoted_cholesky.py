"""The root of a positive semidefinite matrix of any rank, without its eigenvalues."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def pivoted_cholesky(A: Float[Tensor, "n n"], *, rtol: float = 1e-15) -> Float[Tensor, "n n"]:
    r"""Return L with :math:`L L^\top = A`, its last columns zero where A has not full rank.

    Each step takes the row with the largest number left on the diagonal: Higham, 1990. It has no iteration
    that could fail to converge, and every part of A that is left out is at most that number.

    Args:
        A: Symmetric, no eigenvalue below zero but by rounding.
        rtol: It ends where nothing larger than this part of the largest number is left on the diagonal.
    """
    L, left = torch.zeros_like(A), A.diagonal().clone()
    least = rtol * left.max()
    taken = torch.zeros_like(left, dtype=torch.bool)
    for k in range(len(A)):
        row = int(left.argmax())
        if not left[row] > max(float(least), 0.0):
            break
        column = (A[:, row] - L[:, :k] @ L[row, :k]) / left[row].sqrt()
        # No number of a semidefinite matrix is beyond the root of those on the diagonal; rounding may be.
        most = left.clamp_min(0).sqrt()
        L[:, k] = torch.where(taken, 0.0, column.clamp(-most, most))
        left -= L[:, k].square()
        taken[row] = True
        left[taken] = 0
    return L
