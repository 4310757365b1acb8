"""Weights that make up for others under G x A, against the dense matrix."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from isoprune.linalg.kronecker import row_rises, without


def drawn(filters=4, inputs=5, seed=0):
    g = torch.Generator().manual_seed(seed)

    def positive(n):
        X = torch.randn(2 * n, n, generator=g, dtype=torch.float64)
        return X.T @ X / len(X)

    return positive(filters), positive(inputs), torch.randn(filters, inputs, generator=g, dtype=torch.float64)


KEPT = {
    "scattered": torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 1, 0, 1, 1]]),
    "rows": torch.tensor([1, 0, 1, 0])[:, None].expand(4, 5),
    "columns": torch.tensor([1, 1, 0, 0, 1]).expand(4, 5),
    "rows and columns": torch.outer(torch.tensor([1, 0, 1, 1]), torch.tensor([0, 1, 1, 0, 1])),
    "all": torch.ones(4, 5),
    "none": torch.zeros(4, 5),
}


@pytest.mark.parametrize("name", KEPT)
def test_the_update_solves_the_dense_constrained_quadratic(name):
    G, A, W = drawn()
    kept = KEPT[name].bool()
    F, r, w = torch.kron(G, A), kept.flatten(), W.flatten()
    want = torch.zeros_like(w)
    want[r] = w[r] + torch.linalg.solve(F[r][:, r], F[r][:, ~r] @ w[~r])
    torch.testing.assert_close(without(G, A, W, kept).flatten(), want)


@pytest.mark.parametrize("others_move", [False, True])
def test_filters_rise_by_the_dense_matrix(others_move):
    G, A, W = drawn(6)
    unit = torch.tensor([0, 1, 1, -1, 2, 0])
    F, w = torch.kron(G, A), W.flatten()
    inverse, want = torch.linalg.inv(F), []
    for i in range(3):
        q = (unit == i)[:, None].expand(6, 5).flatten()
        own = torch.linalg.inv(inverse[q][:, q]) if others_move else F[q][:, q]
        want.append(w[q] @ own @ w[q])
    torch.testing.assert_close(row_rises(G, A, W, unit, 3, others_move=others_move), torch.stack(want))


def test_the_rise_of_filters_is_the_quadratic_at_their_update():
    G, A, W = drawn()
    for i, rise in enumerate(row_rises(G, A, W, torch.arange(4), 4, others_move=True)):
        D = without(G, A, W, (torch.arange(4) != i)[:, None].expand(4, 5)) - W
        torch.testing.assert_close(torch.trace(D @ A @ D.T @ G), rise)


def test_without_correlation_nothing_moves():
    _, _, W = drawn()
    kept = KEPT["scattered"].bool()
    got = without(torch.eye(4).double() * 2, torch.eye(5).double(), W, kept)
    torch.testing.assert_close(got, torch.where(kept, W, 0))


def test_every_step_of_conjugate_gradients_lowers_the_rise():
    G, A, W = drawn(8, 9)
    kept = torch.rand(8, 9, generator=torch.Generator().manual_seed(1)) > 0.5

    def rise(steps):
        D = without(G, A, W, kept, steps=steps) - W
        return float(torch.trace(D @ A @ D.T @ G))

    rises = [rise(steps) for steps in range(8)]
    assert rises[0] == float(torch.trace((W * ~kept) @ A @ (W * ~kept).T @ G))
    assert all(after < before for before, after in pairwise(rises))
