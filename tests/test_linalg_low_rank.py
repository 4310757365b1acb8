"""Brain surgery by outer products against dense inverses, the published recursion and a dense KKT system."""

from __future__ import annotations

import pytest
import torch

from isoprune.linalg.low_rank import alike, rises, without

LAM = 1e-3


def drawn(samples=4, weights=9, seed=0):
    g = torch.Generator().manual_seed(seed)
    G = torch.randn(samples, weights, generator=g, dtype=torch.float64) / samples**0.5
    return G, torch.randn(weights, generator=g, dtype=torch.float64)


def dense(G):
    return LAM * torch.eye(G.shape[1], dtype=G.dtype) + G.T @ G


@pytest.mark.parametrize("samples", [1, 4, 20])
def test_single_weights_rise_by_the_inverse_that_the_recursion_ends_with(samples):
    G, w = drawn(samples)
    inverse, N = torch.eye(9, dtype=torch.float64) / LAM, samples
    for g in G * N**0.5:
        v = inverse @ g
        inverse = inverse - torch.outer(v, v) / (N + g @ v)
    torch.testing.assert_close(inverse, torch.linalg.inv(dense(G)))
    torch.testing.assert_close(rises(G, LAM, w), w.square() / inverse.diagonal())


@pytest.mark.parametrize("samples", [2, 5, 20])
def test_units_rise_by_their_block_of_the_inverse(samples):
    G, w = drawn(samples)
    unit = torch.tensor([0, 1, 1, -1, 0, 2, 1, 1, 1])  # of 2, 5 and 1 weights, and one of no unit
    inverse = torch.linalg.inv(dense(G))
    want = [w[q] @ torch.linalg.solve(inverse[q][:, q], w[q]) for q in (unit == i for i in range(3))]
    torch.testing.assert_close(rises(G, LAM, w, unit), torch.stack(want))


@pytest.mark.parametrize("samples", [2, 20])
def test_the_update_solves_its_constrained_quadratic(samples):
    G, w = drawn(samples)
    kept = torch.tensor([1, 0, 1, 1, 0, 0, 1, 1, 1]).bool()
    new = without(G, LAM, w, kept)
    assert not new[~kept].any()
    # Stationary over all that stays, and F is positive definite.
    torch.testing.assert_close((dense(G) @ (new - w))[kept], torch.zeros(6, dtype=torch.float64))


def test_the_rise_of_a_unit_is_the_quadratic_at_its_update():
    G, w = drawn()
    unit = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])
    for i, rise in enumerate(rises(G, LAM, w, unit)):
        step = without(G, LAM, w, unit != i) - w
        torch.testing.assert_close(rise, step @ dense(G) @ step)


def test_many_weights_are_taken_in_parts_to_the_same_result(monkeypatch):
    G, w = drawn()
    unit, kept = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2]), torch.arange(9) % 3 > 0
    want = rises(G, LAM, w), rises(G, LAM, w, unit), without(G, LAM, w, kept)
    monkeypatch.setattr("isoprune.linalg.low_rank._COLUMNS", 2)
    monkeypatch.setattr("isoprune.linalg.low_rank._NUMBERS", 1)
    got = rises(G, LAM, w), rises(G, LAM, w, unit), without(G, LAM, w, kept)
    torch.testing.assert_close(got, want)


def test_without_gradients_what_counts_is_the_weight():
    w = drawn()[1]
    G = torch.zeros(3, 9, dtype=torch.float64)
    torch.testing.assert_close(rises(G, LAM, w), LAM * w.square())
    assert torch.equal(without(G, LAM, w, w > 0), torch.where(w > 0, w, 0))


def test_units_are_grouped_by_how_many_weights_they_have():
    found = [(u.tolist(), p.tolist()) for u, p in alike(torch.tensor([2, 0, 2, -1, 1]))]
    assert found == [([0, 1], [[1], [4]]), ([2], [[0, 2]])]
