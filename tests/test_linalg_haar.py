"""Haar matrices: orthonormal, and without a preferred direction or sign."""

from __future__ import annotations

import pytest
import torch

from isoprune.linalg import haar_matrix


def draw(filters, fan_in, seed=0):
    return haar_matrix(filters, fan_in, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(1, 1), (4, 9), (9, 4), (16, 16)])
def test_rows_or_columns_are_orthonormal(shape):
    Q = draw(*shape)
    assert Q.shape == shape
    gram = Q @ Q.mT if shape[0] <= shape[1] else Q.mT @ Q
    torch.testing.assert_close(gram, torch.eye(len(gram)).double(), rtol=0, atol=1e-12)


def test_moments_are_those_of_haar_measure():
    # E tr(Q)^2 = E tr(Q^2) = 1 for the orthogonal group; QR without the sign fix has a trace below zero.
    drawn = torch.stack([draw(5, 5, seed) for seed in range(4000)])
    trace = drawn.diagonal(dim1=1, dim2=2).sum(1)
    assert abs(trace.mean()) < 0.06
    assert trace.square().mean().item() == pytest.approx(1, abs=0.1)
    assert (drawn @ drawn).diagonal(dim1=1, dim2=2).sum(1).mean().item() == pytest.approx(1, abs=0.1)
    torch.testing.assert_close(drawn.square().mean(0), torch.full((5, 5), 0.2).double(), rtol=0, atol=0.02)
