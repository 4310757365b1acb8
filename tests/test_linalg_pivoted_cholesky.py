"""The pivoted Cholesky root: its product, at every rank, and of Hessians that eigenvalues fail on."""

from __future__ import annotations

import pytest
import torch

from isoprune.linalg.pivoted_cholesky import pivoted_cholesky


@pytest.mark.parametrize(("size", "rank"), [(1, 1), (5, 5), (9, 4), (40, 1), (6, 0)])
def test_its_product_is_the_matrix_and_it_has_as_many_columns_as_the_rank(size, rank):
    B = torch.randn(size, rank, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    A = B @ B.mT
    L = pivoted_cholesky(A)
    torch.testing.assert_close(L @ L.mT, A)
    assert rank <= int((L != 0).any(0).sum()) <= min(rank + 1, size)  # one more by rounding


@pytest.mark.parametrize("spread", [1e-3, 1.0, 70.0, 300.0])
def test_the_hessian_of_cross_entropy_from_equal_outputs_to_one_that_is_sure(spread):
    o = spread * torch.randn(300, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    p = torch.softmax(o, 0)
    H = p.diag() - torch.outer(p, p)
    L = pivoted_cholesky(H)
    assert bool(L.isfinite().all())
    # Where one output is sure, 1 - p is rounding, and H by that far from semidefinite.
    assert float((L @ L.mT - H).abs().max()) <= 1e-15
    assert bool((L.square().sum(1) <= H.diagonal() + 1e-15).all())
