r"""Rows that lose weights one after the other, each refit on its own: greedy elimination by exact downdates.

A row w of a map that reads x with :math:`A = E[x x^\top]` loses the group Q of its weights that is missed
least, :math:`w_Q^\top ([A^{-1}]_{QQ})^{-1} w_Q`, the others move by :math:`-A^{-1}_{:Q} ([A^{-1}]_{QQ})^{-1}
w_Q`, and Q is eliminated from the inverse: Frantar & Alistarh, 2022. All rows share A; their inverses part
ways, so many rows go on side by side.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_NUMBERS = 2**25  # of the inverses that are kept at a time: 256 MiB
_COMPACT = 0.8  # inverses are cut to what is left when it is less than this part


def traces(
    A: Float[Tensor, "inputs inputs"],
    W: Float[Tensor, "rows inputs"],
    groups: Int[Tensor, "groups size"],
    *,
    bucket: Int[Tensor, "groups"] | None = None,
    most: Int[Tensor, "buckets"] | None = None,
) -> tuple[Float[Tensor, "rows groups"], Int[Tensor, "rows groups"]]:
    """Return by how much the squared error of each row rose when a group went, and when: 0 is the first.

    Groups that are never taken have what they would cost at the end, and the number of groups as their turn.
    Of equals the last goes.

    Args:
        A: Positive definite.
        groups: Disjoint columns that go as one.
        bucket, most: Which bucket a group is in, and how many each bucket can lose in a row; None: all.
    """
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(A.double()))
    size = max(1, _NUMBERS // A.numel())
    parts = [_traced(inverse, w, groups, bucket, most) for w in W.double().split(size)]
    losses, turns = zip(*parts, strict=True)
    return torch.cat(losses), torch.cat(turns)


def _traced(
    inverse: Tensor, W: Tensor, groups: Tensor, bucket: Tensor | None, most: Tensor | None
) -> tuple[Tensor, Tensor]:
    rows, (number, size) = len(W), groups.shape
    each = torch.arange(rows, device=W.device)
    columns = groups.flatten()
    # Groups first, side by side; what is of no group comes last, and stays.
    others = torch.ones(W.shape[1], dtype=torch.bool, device=W.device).index_fill(0, columns, False)
    order = torch.cat([columns, others.nonzero().flatten()])
    H, w = inverse[order][:, order].expand(rows, -1, -1).clone(), W[:, order].clone()
    ids = torch.arange(number, device=W.device).expand(rows, -1)  # of the groups that H still holds
    there = torch.ones(rows, number, dtype=torch.bool, device=W.device)
    losses = torch.zeros(rows, number, dtype=W.dtype, device=W.device)
    turns = torch.full((rows, number), number, device=W.device)
    spent = None if most is None else torch.zeros(rows, len(most), dtype=torch.long, device=W.device)
    for turn in range(number + 1):
        costs = _costs(H, w, there, size)
        free = there
        if bucket is not None and most is not None and spent is not None:
            at = bucket[ids]
            free = there & (spent.gather(1, at) < most[at])
        if turn == number or not bool(free.any()):
            left = torch.where(there, costs, losses.gather(1, ids))
            return losses.scatter(1, ids, left), turns
        costs = torch.where(free, costs, torch.inf)
        best = costs.shape[1] - 1 - costs.flip(1).argmin(1)
        goes = free[each, best]  # rows that can lose no more go on as they are
        gone = ids[each, best]
        losses[each[goes], gone[goes]] = costs[each, best][goes]
        turns[each[goes], gone[goes]] = turn
        if bucket is not None and spent is not None:
            spent[each[goes], bucket[gone[goes]]] += 1
        _remove_(H, w, best, goes, size)
        there[each[goes], best[goes]] = False
        left = int(there.sum(1).max())
        if left < _COMPACT * there.shape[1] and left:
            H, w, ids, there = _compact(H, w, ids, there, left, size)
    raise AssertionError("a trace ends with its last group")


def _costs(H: Tensor, w: Tensor, there: Tensor, size: int) -> Tensor:
    """Return what each group would cost next, [rows, groups]; zero where it is gone."""
    number = there.shape[1]
    if size == 1:
        pivots = torch.where(there, H.diagonal(dim1=1, dim2=2)[:, :number], 1.0)
        return w[:, :number].square() / pivots * there
    blocks = H[:, : number * size, : number * size].unflatten(2, (number, size)).unflatten(1, (number, size))
    own = blocks.diagonal(dim1=1, dim2=3).movedim(-1, 1)  # [rows, groups, size, size]
    own = torch.where(there[..., None, None], own, torch.eye(size, dtype=H.dtype, device=H.device))
    v = w[:, : number * size].unflatten(1, (number, size))
    return (v * torch.linalg.solve(own, v)).sum(2) * there


def _remove_(H: Tensor, w: Tensor, best: Tensor, goes: Tensor, size: int) -> None:
    """Take one group of every row that ``goes`` out of its inverse, and refit the row."""
    each = torch.arange(len(w), device=w.device)
    at = best[:, None] * size + torch.arange(size, device=w.device)  # [rows, size]
    C = H[each[:, None], at]  # [rows, size, columns]
    own = C.gather(2, at[:, None].expand(-1, size, -1))
    eye = torch.eye(size, dtype=H.dtype, device=H.device)
    # By a factor of the block, not its inverse, whose rounding the large entries of H would multiply.
    L = torch.linalg.cholesky(torch.where(goes[:, None, None], own, eye))
    Z = torch.linalg.solve_triangular(L, C * goes[:, None, None], upper=False)
    v = torch.linalg.solve_triangular(L, w.gather(1, at)[..., None], upper=False)
    w -= (Z * v).sum(1)
    H.baddbmm_(Z.mT, Z, alpha=-1)
    rows, some = each[goes, None], at[goes]
    H[rows, some] = 0
    H[rows, :, some] = 0
    w[rows, some] = 0


def _compact(
    H: Tensor, w: Tensor, ids: Tensor, there: Tensor, left: int, size: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return all without groups that are gone: ``left`` of every row, some gone ones among them."""
    keep = there.long().argsort(dim=1, descending=True, stable=True)[:, :left].sort(1).values
    inner = (keep[..., None] * size + torch.arange(size, device=w.device)).flatten(1)
    rest = torch.arange(there.shape[1] * size, w.shape[1], device=w.device).expand(len(w), -1)
    at = torch.cat([inner, rest], 1)
    rows = torch.arange(len(w), device=w.device)[:, None]
    H = H[rows[..., None], at[:, :, None], at[:, None, :]]
    return H, w.gather(1, at), ids.gather(1, keep), there.gather(1, keep)


def refit_rows(
    A: Float[Tensor, "inputs inputs"], W: Float[Tensor, "rows inputs"], kept: Bool[Tensor, "rows inputs"]
) -> Float[Tensor, "rows inputs"]:
    """Return the rows, zero outside of ``kept``, whose products with x are nearest to those of W."""
    A, V = A.double(), W.double()
    eye = torch.eye(len(A), dtype=A.dtype, device=A.device)
    new = []
    for w, stays in zip(V.split(size := max(1, _NUMBERS // A.numel())), kept.split(size), strict=True):
        inside = torch.where(stays[:, :, None] & stays[:, None, :], A, eye)
        lost = torch.where(stays, torch.where(stays, 0.0, w) @ A, 0.0)
        step = torch.cholesky_solve(lost[..., None], torch.linalg.cholesky(inside))[..., 0]
        new.append(torch.where(stays, w + step, 0.0))
    return torch.cat(new).to(W.dtype)
