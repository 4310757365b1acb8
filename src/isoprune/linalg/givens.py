"""A sparse matrix with exactly orthonormal rows or columns, by random rotations of two coordinates each."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from isoprune.types import IsopruneError

_PATIENCE = 20  # rotations that do not fit, a column, before the pattern is called done


def sparse_orthogonal(
    filters: int,
    fan_in: int,
    entries: int,
    *,
    generator: Generator,
    within: Bool[Tensor, "filters fan_in"] | None = None,
) -> tuple[Float[Tensor, "filters fan_in"], Bool[Tensor, "filters fan_in"]]:
    r"""Return a random semi-orthogonal float64 matrix, at most ``entries`` of it not zero, and where.

    With m rows and n columns (m <= n; transposed otherwise): row i starts as a unit vector of its own, and
    Givens rotations of two random columns by a random angle follow,

    .. math:: (a, b) \leftarrow (a \cos t + b \sin t, \; b \cos t - a \sin t)

    each of which keeps rows orthonormal and lets both columns hold what either held. One that would make too
    many entries is passed over, so ``entries`` is missed by less than m.

    With ``within``, nothing is ever outside of it: the unit vectors are a random complete matching of rows to
    columns, and rotations that would leave it are passed over; how much of it they fill is up to its pattern.

    Raises:
        IsopruneError: If ``entries`` is less than m, one for each row; if ``within`` has no such matching.

    Cost: about 4 entries / m rotations of m numbers where it is sparse; more as it fills, n log n rotations.

    Source: Nowak et al., "Sparser, better, deeper, stronger: improving static sparse training with exact
    orthogonal initialization", 2024 (there by rotations of a square matrix, of which a corner is taken).
    """
    m, n = min(filters, fan_in), max(filters, fan_in)
    if entries < m:
        raise IsopruneError(
            f"A matrix [{filters}, {fan_in}] with orthonormal {'rows' if filters <= fan_in else 'columns'} "
            f"has at least {m} weights that are not zero; {entries} are left. Prune this layer less."
        )
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    rng = np.random.default_rng(seed)
    columns, there = np.zeros((n, m)), np.zeros((n, m), dtype=bool)
    allowed = None if within is None else (within if filters > fan_in else within.mT).cpu().numpy()
    where = rng.permutation(n)[:m] if allowed is None else _matching(allowed, rng)
    columns[where, np.arange(m)], there[where, np.arange(m)] = 1.0, True
    left, failures = entries - m, 0
    while left > 0 and failures < _PATIENCE * n and n > 1:
        i, j = rng.choice(n, 2, replace=False)
        more = int((there[i] ^ there[j]).sum())
        full = there[i] | there[j]
        outside = allowed is not None and bool((full & ~(allowed[i] & allowed[j])).any())
        if outside or not 0 < more <= left:
            failures += 1
            continue
        angle = rng.uniform(0, 2 * math.pi)
        a, b, c, s = columns[i].copy(), columns[j].copy(), math.cos(angle), math.sin(angle)
        columns[i], columns[j] = c * a + s * b, c * b - s * a
        there[i] = there[j] = full
        left, failures = left - more, 0
    Q, pattern = torch.from_numpy(columns), torch.from_numpy(there)
    return (Q, pattern) if filters > fan_in else (Q.mT.contiguous(), pattern.mT.contiguous())


def _matching(allowed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random column for each row, all different: [m], of ``allowed`` [n, m].

    Raises:
        IsopruneError: If there are none.
    """
    # A quarter of a second to import, and masks alone need it.
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import maximum_bipartite_matching

    n, m = allowed.shape
    columns, rows = rng.permutation(n), rng.permutation(m)
    found = maximum_bipartite_matching(csr_matrix(allowed[columns][:, rows].T), perm_type="column")
    if (found < 0).any():
        raise IsopruneError(
            f"The mask leaves no room for orthonormal filters: of {m} rows (or columns) only "
            f"{(found >= 0).sum()} can have a weight of their own. Take approximate_isometry, or prune this "
            "layer less."
        )
    where = np.empty(m, dtype=int)
    where[rows] = columns[found]
    return where
