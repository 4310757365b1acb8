r"""Optimal brain surgery under a curvature of few outer products, without ever making its matrix.

:math:`F = \lambda I + G^\top G` with G [samples, weights] of few rows. By Woodbury's identity its inverse
needs the Gram matrix [samples, samples] alone: what the recursion
:math:`F^{-1} \leftarrow F^{-1} - F^{-1} g g^\top F^{-1} / (N + g^\top F^{-1} g)` of Hassibi & Stork, 1993,
ends with is here one step.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_COLUMNS = 2**16  # weights that are looked at together in float64
_NUMBERS = 2**23  # of the matrices that are solved together


def rises(
    G: Float[Tensor, "samples weights"],
    damping: float,
    w: Float[Tensor, "weights"],
    unit: Int[Tensor, "weights"] | None = None,
) -> Float[Tensor, "units"]:
    r"""Return the least :math:`\delta^\top F \delta` without each unit Q: :math:`\delta_Q = -w_Q`.

    That is :math:`w_Q^\top ([F^{-1}]_{QQ})^{-1} w_Q`; of a single weight :math:`w_i^2 / [F^{-1}]_{ii}`.

    Args:
        G: Rows g / sqrt(N); products are in float64.
        damping: :math:`\lambda`, positive.
        w: The weights.
        unit: Which unit each weight is of, from 0; -1: of none. None: each is its own.
    """
    G = _few(G)
    K = _gram(G, damping)
    L = torch.linalg.cholesky(K)
    if unit is None:
        parts = zip(G.split(_COLUMNS, 1), w.double().split(_COLUMNS), strict=True)
        return torch.cat([damping * v.square() / _left(L, g) for g, v in parts])
    found = torch.zeros(int(unit.max()) + 1, dtype=torch.float64, device=w.device)
    for units, places in alike(unit):
        narrow = places.shape[1] <= len(G)
        size = max(1, _NUMBERS // (places.shape[1] * len(G) if narrow else len(G) ** 2 + places.shape[1]))
        for some, where in zip(units.split(size), places.split(size), strict=True):
            g = G[:, where.flatten()].double().unflatten(1, where.shape).transpose(0, 1)
            found[some] = _of_narrow(L, g, w[where].double(), damping) if narrow else _of_wide(
                K, g, w[where].double(), damping
            )  # fmt: skip
    return found


def without(
    G: Float[Tensor, "samples weights"],
    damping: float,
    w: Float[Tensor, "weights"],
    kept: Bool[Tensor, "weights"],
) -> Float[Tensor, "weights"]:
    r"""Return the weights, zero outside of ``kept``, with the least :math:`\delta^\top F \delta`.

    Those that stay move by :math:`-F_{RR}^{-1} F_{RQ} \delta_Q`: all that go are made up for together.
    """
    G, kept = _few(G), kept.to(w.device)
    v = w.double()
    lost = torch.zeros(len(G), dtype=torch.float64, device=w.device)
    K = damping * torch.eye(len(G), dtype=torch.float64, device=w.device)
    for g, x, stays in _columns(G, v, kept):
        lost += g[:, ~stays] @ x[~stays]
        K += g[:, stays] @ g[:, stays].mT
    step = torch.cholesky_solve(lost[:, None], torch.linalg.cholesky(K))[:, 0]
    new = [torch.where(stays, x + step @ g, 0.0) for g, x, stays in _columns(G, v, kept)]
    return torch.cat(new).to(w.dtype)


def alike(unit: Int[Tensor, "weights"]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield units of equally many weights: the units, and where their weights are, [units, number]."""
    order = unit.argsort(stable=True)
    order = order[unit[order] >= 0]
    units, counts = unit[order].unique_consecutive(return_counts=True)
    starts = counts.cumsum(0) - counts
    for number in counts.unique().tolist():
        these = counts == number
        yield units[these], order[starts[these][:, None] + torch.arange(number, device=unit.device)]


def _columns(G: Tensor, w: Tensor, kept: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    for g, x, stays in zip(G.split(_COLUMNS, 1), w.split(_COLUMNS), kept.split(_COLUMNS), strict=True):
        yield g.double(), x, stays


def _few(G: Tensor) -> Tensor:
    """Return rows with the same G^T G, at most as many as columns."""
    return G if len(G) <= G.shape[1] else torch.linalg.qr(G.double(), mode="r")[1]


def _gram(G: Tensor, damping: float) -> Tensor:
    K = damping * torch.eye(len(G), dtype=torch.float64, device=G.device)
    for g in G.split(_COLUMNS, 1):
        K += g.double() @ g.double().mT
    return K


def _left(L: Tensor, g: Tensor) -> Tensor:
    """Return lambda times the diagonal of the inverse of F."""
    return 1 - torch.linalg.solve_triangular(L, g.double(), upper=False).square().sum(0)


def _of_narrow(L: Tensor, g: Tensor, w: Tensor, damping: float) -> Tensor:
    """Return the rises of units with fewer weights than samples: g [units, samples, n], w [units, n]."""
    X = torch.linalg.solve_triangular(L, g, upper=False)
    inverse = torch.eye(w.shape[1], dtype=w.dtype, device=w.device) - X.mT @ X
    return damping * (w * torch.linalg.solve(inverse, w)).sum(1)


def _of_wide(K: Tensor, g: Tensor, w: Tensor, damping: float) -> Tensor:
    """The same by what is left of the Gram matrix without the unit, [units, samples, samples]."""
    a = (g @ w[:, :, None])[:, :, 0]
    return damping * (w.square().sum(1) + (a * torch.linalg.solve(K - g @ g.mT, a)).sum(1))
