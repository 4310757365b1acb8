"""Sparse orthogonal matrices: exact, within their budget, and filling it."""

from __future__ import annotations

import pytest
import torch

from isoprune.linalg import sparse_orthogonal
from isoprune.types import IsopruneError


def draw(shape, entries, seed=0):
    return sparse_orthogonal(*shape, entries, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(12, 12), (8, 40), (40, 8), (1, 9), (1, 1)])
@pytest.mark.parametrize("density", [0.15, 0.4, 0.8])
def test_orthonormal_exactly_and_as_dense_as_asked(shape, density):
    m = min(shape)
    entries = max(int(density * shape[0] * shape[1]), m)
    Q, pattern = draw(shape, entries)
    gram = Q @ Q.mT if shape[0] <= shape[1] else Q.mT @ Q
    torch.testing.assert_close(gram, torch.eye(m).double(), rtol=0, atol=1e-12)
    assert torch.equal(Q != 0, pattern)
    assert entries - m < pattern.sum() <= entries


def test_fewest_entries_are_a_permutation():
    Q, pattern = draw((5, 9), 5)
    assert torch.equal(Q, pattern.double())
    assert (pattern.sum(1) == 1).all()
    assert pattern.sum(0).max() == 1


def test_all_entries_fill():
    assert draw((6, 10), 60)[1].all()


def test_no_place_is_preferred():
    often = torch.stack([draw((4, 6), 10, seed)[1].double() for seed in range(600)]).mean(0)
    assert often.min() > 0.75 * often.mean()
    assert often.max() < 1.25 * often.mean()


def test_decided_by_the_generator():
    assert torch.equal(draw((4, 6), 12)[0], draw((4, 6), 12)[0])
    assert not torch.equal(draw((4, 6), 12)[0], draw((4, 6), 12, seed=1)[0])


@pytest.mark.parametrize(("shape", "words"), [((4, 6), "rows"), ((6, 4), "columns")])
def test_too_few_entries(shape, words):
    with pytest.raises(IsopruneError, match=rf"orthonormal {words} has at least 4 weights.*3 are left"):
        draw(shape, 3)


@pytest.mark.parametrize("shape", [(12, 12), (8, 40), (40, 8)])
@pytest.mark.parametrize("density", [0.4, 0.7, 1.0])
def test_orthonormal_exactly_and_within_a_mask(shape, density):
    mask = torch.rand(*shape, generator=torch.Generator().manual_seed(1)) < density
    generator, m = torch.Generator().manual_seed(0), min(shape)
    Q, pattern = sparse_orthogonal(*shape, int(mask.sum()), generator=generator, within=mask)
    gram = Q @ Q.mT if shape[0] <= shape[1] else Q.mT @ Q
    torch.testing.assert_close(gram, torch.eye(m).double(), rtol=0, atol=1e-12)
    assert not Q[~mask].any()
    assert pattern.sum() > 1.2 * m
    assert pattern.all() == (density == 1.0)
