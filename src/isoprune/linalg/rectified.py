"""Least squares in front of a ReLU: a negative target is met by any negative output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add

import torch
from jaxtyping import Float
from torch import Tensor

from isoprune.linalg.ridge import Fit, Moments


def rectified_fit(
    data: Sequence[tuple[Tensor, Tensor]],
    moments: Moments,
    W0: Float[Tensor, "outputs inputs"],
    fit: Fit,
    *,
    scale: Float[Tensor, "outputs"],
    shift: Float[Tensor, "outputs"],
    intercept: bool,
    rounds: int,
) -> Fit:
    r"""Return ``fit`` improved for outputs :math:`z = a (W x + b) + c` that only a ReLU reads.

    .. math:: \sum_{t > 0} (z - t)^2 + \sum_{t \le 0} \max(z, 0)^2

    where t is a y + c, plus the pull toward ``W0`` that the fit was made with. Each round moves the targets
    of what is negative and should be to where it is, and solves anew: this convex sum then never rises.

    Args:
        data: Rows of x [rows, inputs] and y [rows, outputs], in parts.
        moments: Of all of them.
        W0: What the fit was pulled to.
        scale, shift: a and c; an output with a = 0 stays as it is.
        rounds: How many.

    Cost: a Cholesky factor of [inputs, inputs], and each round two products with the data.
    """
    A, _, _ = moments.centred(intercept)
    mean = float(A.diagonal().mean())
    if not mean > 0:
        return fit
    W0 = W0.double()
    pull = max(fit.strength, 1e-9) * mean * torch.eye(len(A)).to(A)
    L, failed = torch.linalg.cholesky_ex(A + pull)
    if failed:  # where inputs depend on each other, products in float32 may be off by more than the pull
        xx = reduce(add, (X.double().mT @ X.double() for X, _ in data))
        moments = replace(moments, xx=xx, x=reduce(add, (X.double().sum(0) for X, _ in data)))
        A, _, _ = moments.centred(intercept)
        L = torch.linalg.cholesky(A + pull)
    W, b = fit.W, fit.b
    for _ in range(rounds):
        xy, y = torch.zeros_like(moments.xy), torch.zeros_like(moments.y)
        for X, Y in data:
            made = X.double() @ W.mT + b
            wanted, z = scale * Y.double() + shift, scale * made + shift
            moved = (wanted <= 0) & (scale != 0)
            target = torch.where(moved, (z.clamp_max(0) - shift) / torch.where(scale == 0, 1.0, scale), Y)
            xy += X.double().mT @ target
            y += target.sum(0)
        now = replace(moments, xy=xy, y=y)
        B = now.centred(intercept)[1]
        W = W0 + torch.cholesky_solve(B - A @ W0.mT, L).mT
        b = (y - W @ moments.x) / moments.n if intercept else torch.zeros_like(y)
    return replace(fit, W=W, b=b, **dict(zip(("mean", "variance"), moments.of_output(W), strict=True)))
