"""The nearest and the sequential way to make the rows of a matrix orthonormal."""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from isoprune.types import IsopruneError


def filter_matrix(weight: Shaped[Tensor, "filters ..."]) -> Shaped[Tensor, "filters fan_in"]:
    """Return the weight of a Linear or convolution with one filter a row; a view where it can be."""
    return weight.reshape(weight.shape[0], -1)


def qr_factor(W: Float[Tensor, "filters fan_in"]) -> Float[Tensor, "filters fan_in"]:
    r"""Return the sign-fixed orthonormal factor of :math:`W^\top = Q R` (of :math:`W = Q R` if it is tall).

    :math:`Q \operatorname{diag}(\operatorname{sign} \operatorname{diag} R)`, transposed back: the
    Gram-Schmidt result, unique at full rank, with orthonormal rows (columns, if ``filters > fan_in``).

    A dead filter (a row of zeros) comes back alive: sign(0) counts as +1, so a wide matrix gets a
    direction orthogonal to the filters before it. In a tall one a zero row would stay zero, whatever the
    QR; there it first takes the direction that the living filters use least.

    QR bends the last filter most, so the result depends on filter order; `polar_factor` does not.

    Args:
        W: Filter matrix; half types are factored in float32.

    Returns:
        New tensor of W's shape and type.

    Raises:
        IsopruneError: If ``W`` holds NaN or infinity.

    Source: Mezzadri, "How to generate random matrices from the classical compact groups", 2007
    (the sign fix); Wang et al., 2021 (its use on pruned filters).
    """
    require_finite(W)
    work = W.float() if W.dtype in (torch.float16, torch.bfloat16) else W
    tall = work.shape[0] > work.shape[1]
    Q, R = torch.linalg.qr(_revive_rows(work) if tall else work.mT)
    # torch.sign(0) = 0 would erase the filter whose pivot vanishes, that is every dead one.
    signs = torch.where(torch.diagonal(R) < 0, -1.0, 1.0).to(Q.dtype)
    Q = Q * signs
    return (Q if tall else Q.mT).contiguous().to(W.dtype)


def polar_factor(
    W: Float[Tensor, "filters fan_in"], *, rtol: float = 1e-6
) -> Float[Tensor, "filters fan_in"]:
    r"""Return the partial isometry :math:`U V^\top` of :math:`W = U \Sigma V^\top`.

    Singular values above ``rtol * max(sigma)`` become one, the rest become zero, so a dead
    filter stays dead. At full rank it is the nearest matrix with orthonormal rows (or
    columns, if ``filters > fan_in``) in Frobenius norm: Fan & Hoffman, 1955.

    Args:
        W: Filter matrix; half types are factored in float32.
        rtol: Relative cutoff of the numerical rank (no unit).

    Returns:
        New tensor; ``W`` is left as it is.

    Raises:
        IsopruneError: If ``W`` holds NaN or infinity.
    """
    require_finite(W)
    work = W.float() if W.dtype in (torch.float16, torch.bfloat16) else W
    U, sigma, Vh = torch.linalg.svd(work, full_matrices=False)
    # Strictly greater: with >=, an all-zero W would count as full rank.
    return ((U * (sigma > rtol * sigma[:1])) @ Vh).to(W.dtype)


def _revive_rows(W: Tensor) -> Tensor:
    """Give each zero row of a tall W the right singular vectors, weakest first, at the others' RMS norm."""
    dead = (W == 0).all(dim=1)
    if not dead.any():
        return W
    weakest_first = torch.linalg.svd(W, full_matrices=False)[2].flip(0)
    living = int((~dead).sum())
    size = W.norm() / living**0.5 if living else 1.0
    turn = torch.arange(int(dead.sum()), device=W.device) % W.shape[1]
    revived = W.clone()
    revived[dead] = size * weakest_first[turn]
    return revived


def require_finite(W: Tensor) -> None:
    """Raise `IsopruneError` if the filter matrix holds NaN or infinity."""
    if not torch.isfinite(W).all():
        raise IsopruneError(
            f"W of shape {tuple(W.shape)} holds NaN or infinity. Training diverged: lower retrain.lr, or "
            "repair an earlier checkpoint."
        )
