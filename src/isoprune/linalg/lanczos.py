"""Lanczos' iteration: the ends of the spectrum of a symmetric matrix that is known by its products."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from isoprune.types import IsopruneError

_EXHAUSTED = 1e-10  # of the largest coefficient: what rounding leaves where the Krylov space ends


def ritz_values(
    times: Callable[[Tensor], Tensor], start: Float[Tensor, "size"], steps: int
) -> Float[Tensor, "values"]:
    r"""Return the eigenvalues of :math:`Q^\top A Q`, ascending, Q a basis of :math:`b, A b, A^2 b \dots`

    All lie between the smallest and the largest eigenvalue of A, and the outer ones approach these. Fewer
    than ``steps`` where the space ends earlier: then each is an eigenvalue of A. Fully reorthogonalised.

    Args:
        times: v -> A v, A symmetric.
        start: b, not zero.
        steps: At most so many products, at least 1.

    Cost: ``steps`` products; as many vectors in memory.

    Raises:
        IsopruneError: For a start of zero, NaN or infinity, or fewer than one step.
    """
    norm = float(start.norm())
    if steps < 1 or not 0 < norm < float("inf"):
        raise IsopruneError(
            f"Lanczos' iteration has steps = {steps} >= 1 and a start of finite norm, not {norm}."
        )
    basis = [start / norm]
    diagonal: list[float] = []
    beside: list[float] = []
    for _ in range(min(steps, len(start))):
        w = times(basis[-1])
        diagonal.append(float(w @ basis[-1]))
        Q = torch.stack(basis)
        for _ in range(2):  # twice is enough (Kahan)
            w = w - Q.mT @ (Q @ w)
        beside.append(float(w.norm()))
        if not beside[-1] > _EXHAUSTED * max(map(abs, diagonal + beside)):
            break
        basis.append(w / beside[-1])
    T = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    off = torch.tensor(beside[: len(diagonal) - 1], dtype=torch.float64)
    return torch.linalg.eigvalsh(T + torch.diag(off, 1) + torch.diag(off, -1))
