"""Slow, obvious oracles: what the fast code must equal."""

from __future__ import annotations

import numpy as np
import torch


def jacobian_by_loops(model, x):
    """Return d outputs / d input [outputs, inputs] of one sample, one backward per output, in x's type."""
    x = x[None].clone().requires_grad_()
    y = model(x).flatten()
    rows = [torch.autograd.grad(y_i, x, retain_graph=True)[0].flatten() for y_i in y]
    return torch.stack(rows)


def jsv_by_loops(model, inputs):
    """Return the Jacobian singular values [samples, min_dim], by loops and NumPy's SVD."""
    sigma = [np.linalg.svd(jacobian_by_loops(model, x).detach().numpy(), compute_uv=False) for x in inputs]
    return torch.from_numpy(np.stack(sigma))


def matrix_of(linear_map, in_shape):
    """Return the matrix [outputs, inputs] of a linear map between tensors, column by column in float64."""
    columns = []
    for i in range(int(np.prod(in_shape))):
        unit = torch.zeros(int(np.prod(in_shape)), dtype=torch.float64)
        unit[i] = 1
        columns.append(linear_map(unit.reshape(in_shape)).flatten())
    return torch.stack(columns, dim=1)


def gram_schmidt(W):
    """Return the rows of W made orthonormal one after the other (full rank, wide or square)."""
    rows = []
    for w in W.clone():
        for _ in range(2):  # twice is enough (Kahan)
            for q in rows:
                w = w - (q @ w) * q
        rows.append(w / w.norm())
    return torch.stack(rows)
