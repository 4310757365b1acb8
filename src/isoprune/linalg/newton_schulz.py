"""The polar factor by matrix products alone."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from isoprune.linalg.factors import require_finite
from isoprune.types import IsopruneError

_RTOL = 1e-6  # numerical rank, as in `polar_factor`
_BETWEEN = (2 / 3) ** 0.5  # where the purification turns from zero to one
_ROUNDING = 8  # units in the last place that a zero may be off
_PURIFICATIONS = 12
_STEEP = (3.4445, -4.7750, 2.0315)  # steepest at zero of those that stay near one: K. Jordan
_FEW = 5  # iterations of it


def newton_schulz_factor(
    W: Float[Tensor, "filters fan_in"], *, tolerance: float | None = None
) -> Float[Tensor, "filters fan_in"]:
    r"""Return `polar_factor(W)` by the quintic Newton-Schulz iteration, to ``tolerance``.

    .. math:: X \leftarrow \tfrac18 (15 X - 10 X X^\top X + 3 (X X^\top)^2 X)

    from :math:`X_0 = W / \|W W^\top\|_F^{1/2}`, whose singular values lie in [0, 1]: singular vectors stay,
    singular values grow by 15/8 a step until they are one (cubic convergence), and zeros stay zero, so a dead
    filter stays dead. The products are of the smaller side's Gram matrix.

    What is zero but for rounding grows too. So the iteration ends when nothing but rounding, grown by as
    much, is left between zero and one, at the latest when ``1e-6 * max(sigma)``, the rank cutoff of
    `polar_factor`, has come near one. Then :math:`X \leftarrow \tfrac12 (5 X X^\top X - 3 (X X^\top)^2 X)`
    takes what is below :math:`\sqrt{2/3}` to zero and the rest to one, until
    :math:`\|X X^\top X - X\|_F \le` ``tolerance`` :math:`\|X\|_F`. In float32, singular values below about
    2e-5 of the largest, whose directions are mostly rounding there, may count as zero.

    Args:
        W: Filter matrix; half types are iterated in float32.
        tolerance: None: 1e-5 in float32, 1e-12 in float64.

    Raises:
        IsopruneError: If ``W`` holds NaN or infinity, or a singular value lies so near the rank cutoff that
            it ends neither at zero nor at one; which side it is on only an SVD says.

    Cost: 3 m^2 n multiply-adds a step (m the smaller side), 5 to 40 steps. On a CPU the SVD is faster
    (benchmarks/polar.py); this is for devices that are good at matrix products and bad at the rest.

    Source: Björck & Bowie, 1971; Higham, "Functions of Matrices", 2008, chapter 8.
    """
    require_finite(W)
    work = W.float() if W.dtype in (torch.float16, torch.bfloat16) else W
    if tolerance is None:
        tolerance = 1e-12 if work.dtype == torch.float64 else 1e-5
    X = work if work.shape[0] <= work.shape[1] else work.mT
    peak = X.abs().max()
    if peak == 0:
        return torch.zeros_like(W)
    X = X / peak  # so that neither squares nor fourth powers leave the range of float32
    # The fourth root of the sum of fourth powers: above the largest singular value, below the Frobenius norm.
    X = X / torch.linalg.matrix_norm(X @ X.mT).sqrt()
    X = _grow(X, tolerance)
    for _ in range(_PURIFICATIONS):
        gram = X @ X.mT
        once = gram @ X
        if torch.linalg.matrix_norm(once - X) <= tolerance * torch.linalg.matrix_norm(X):
            return (X if work.shape[0] <= work.shape[1] else X.mT).contiguous().to(W.dtype)
        X = (5 * once - 3 * (gram @ once)) / 2
    raise IsopruneError(
        f"W of shape {tuple(W.shape)}: Newton-Schulz has not converged to {tolerance:g}; a singular value "
        f"lies near {_RTOL:g} of the largest, where the rank is decided. Take the SVD: polar_factor, or "
        'solver = "svd".'
    )


def _grow(X: Tensor, tolerance: float) -> Tensor:
    """Iterate until every singular value above the rank cutoff is one, or nearly."""
    # The largest singular value is between m^(-1/4) and one; the cutoff is relative to it.
    smallest = _RTOL * len(X) ** -0.25
    noise = _ROUNDING * torch.finfo(X.dtype).eps
    while smallest < _BETWEEN:
        gram = X @ X.mT
        once = gram @ X
        if torch.linalg.matrix_norm(once - X) <= (tolerance + noise) * torch.linalg.matrix_norm(X):
            break
        X = (15 * X - 10 * once + 3 * (gram @ once)) / 8
        smallest *= (15 - 10 * smallest**2 + 3 * smallest**4) / 8
        noise *= 15 / 8
    return X


def nearly_orthogonal(matrix: Tensor) -> Tensor:
    r"""Return :math:`U f(\Sigma / \|\Sigma\|) V^\top`, f five times the quintic :math:`ax + bx^3 + cx^5`.

    f takes all from 0.002 to one into [0.68, 1.21], and zero to zero; what is not finite stays so. It is what
    is left of `newton_schulz_factor` where nearly is enough: a fixed number of products, and no test of where
    they have come.

    Source: Jordan et al., 2024 (Muon).
    """
    a, b, c = _STEEP
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.mH if tall else matrix
    x = x / x.norm().clamp_min(torch.finfo(x.dtype).tiny)
    for _ in range(_FEW):
        gram = x @ x.mH
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mH if tall else x
