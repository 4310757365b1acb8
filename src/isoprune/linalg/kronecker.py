r"""Weights that make up for others under a curvature :math:`G \otimes A`: Martens & Grosse, 2015."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from isoprune.linalg.low_rank import alike

_TOLERANCE = 1e-20  # of the squared residual, relative


def row_rises(
    G: Float[Tensor, "filters filters"],
    A: Float[Tensor, "inputs inputs"],
    W: Float[Tensor, "filters inputs"],
    unit: Int[Tensor, "filters"],
    size: int,
    *,
    others_move: bool,
) -> Float[Tensor, "units"]:
    r"""Return :math:`\mathrm{tr}\, D A D^\top G` when all filters of a unit go: :math:`D_S = -W_S`.

    Where the other filters stay as they are that is :math:`\mathrm{tr}\, W_S A W_S^\top G_{SS}`; where they
    move to its least, :math:`\mathrm{tr}\, W_S A W_S^\top ([G^{-1}]_{SS})^{-1}`.

    Args:
        G, A: Positive definite, in float64.
        unit: Which unit each filter is of; -1: of none.
        size: How many units there are.
    """
    found = torch.zeros(size, dtype=torch.float64)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(G)) if others_move else G
    for units, rows in alike(unit):
        V = W[rows]  # [units, filters of a unit, inputs]
        inside = inverse[rows[:, :, None], rows[:, None, :]]
        M = V @ A @ V.mT
        product = torch.linalg.solve(inside, M) if others_move else inside @ M
        found[units] = product.diagonal(dim1=1, dim2=2).sum(1)
    return found


def without(
    G: Float[Tensor, "filters filters"],
    A: Float[Tensor, "inputs inputs"],
    W: Float[Tensor, "filters inputs"],
    kept: Bool[Tensor, "filters inputs"],
    *,
    steps: int = 30,
) -> Float[Tensor, "filters inputs"]:
    r"""Return the weights, zero outside of ``kept``, with the least :math:`\mathrm{tr}\, D A D^\top G`.

    D is what they moved by. Where whole filters and whole inputs go it is a closed form. Elsewhere it is
    what conjugate gradients come to; each of their steps lowers it.

    Args:
        G, A: Positive definite, in float64.
        steps: Of conjugate gradients, at most.
    """
    rows, columns = kept.any(1), kept.any(0)
    if not bool(kept.any()):
        return torch.zeros_like(W)
    if bool(kept[rows][:, columns].all()):
        left = torch.linalg.solve(G[rows][:, rows], G[rows] @ W @ A[:, columns])
        new = torch.zeros_like(W)
        new[rows[:, None] & columns] = torch.linalg.solve(A[columns][:, columns], left, left=False).flatten()
        return new
    inside = kept.to(W.dtype)
    scale = torch.outer(G.diagonal(), A.diagonal())  # of the operator's diagonal
    r = G @ (W * (1 - inside)) @ A * inside
    D, z = torch.zeros_like(W), r / scale
    p, power, enough = z.clone(), (r * z).sum(), _TOLERANCE * (r * r / scale).sum()
    for _ in range(steps):
        if bool(power <= enough):
            break
        Fp = G @ p @ A * inside
        step = power / (p * Fp).sum()
        D, r = D + step * p, r - step * Fp
        z = r / scale
        after = (r * z).sum()
        p, power = z + after / power * p, after
    return W * inside + D
