"""Optimal transport between two sets of masses, exactly: a linear programme."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy import sparse
from scipy.optimize import linprog
from torch import Tensor

from isoprune.types import IsopruneError

_TOLERANCE = 1e-10  # of masses, relative to their total


def transport_plan(
    costs: Float[Tensor, "sources targets"],
    sources: Float[Tensor, "sources"],
    targets: Float[Tensor, "targets"],
) -> Float[Tensor, "sources targets"]:
    r"""Return the plan P that costs least, :math:`\min \sum_{ij} C_{ij} P_{ij}`, in float64.

    Over :math:`P \ge 0` whose rows sum to ``sources`` and whose columns to ``targets``, each divided by its
    total. At most sources + targets - 1 entries are not zero.

    Cost: a linear programme of sources times targets variables (HiGHS).

    Raises:
        IsopruneError: If a mass is below zero, all of a side are zero, or a number is not finite.
    """
    n, m = costs.shape
    for masses in (sources, targets):
        if not bool(masses.isfinite().all()) or bool((masses < 0).any()) or not float(masses.sum()) > 0:
            raise IsopruneError("Masses to transport must be finite, none below zero, and one above it.")
    if not bool(costs.isfinite().all()):
        raise IsopruneError("A cost of transport is NaN or infinite. Training may have diverged.")
    a, b = (t.detach().double().cpu().numpy() / float(t.double().sum()) for t in (sources, targets))
    C = costs.detach().double().cpu().numpy()
    C = C / max(float(np.abs(C).max()), 1e-300)
    rows = sparse.kron(sparse.eye(n), np.ones((1, m)))
    columns = sparse.kron(np.ones((1, n)), sparse.eye(m))
    # One equation follows from the others: without the last one rounding of the totals contradicts nothing.
    A, sums = sparse.vstack([rows, columns]).tocsr()[:-1], np.concatenate([a, b])[:-1]
    how = {"primal_feasibility_tolerance": _TOLERANCE, "dual_feasibility_tolerance": _TOLERANCE}
    found = linprog(C.ravel(), A_eq=A, b_eq=sums, bounds=(0, None), method="highs-ds", options=how)
    if found.x is None:
        raise IsopruneError(
            f"No plan of transport was found for {n} sources and {m} targets: {found.message}"
        )
    return torch.from_numpy(np.clip(found.x, 0, None).reshape(n, m)).to(costs.device)
