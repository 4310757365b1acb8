"""Rows that lose weights against slow, obvious elimination and least squares."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from isoprune.linalg.row_elimination import refit_rows, traces


def drawn(inputs=6, rows=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    X = torch.randn(3 * inputs, inputs, generator=g, dtype=torch.float64)
    return X.T @ X / len(X), torch.randn(rows, inputs, generator=g, dtype=torch.float64)


def best_without(A, w, gone):
    """Return the nearest row without these inputs, and its squared error."""
    left = [j for j in range(len(w)) if j not in gone]
    new = torch.zeros_like(w)
    if left:
        new[left] = torch.linalg.solve(A[left][:, left], (A @ w)[left])
    return new, (new - w) @ A @ (new - w)


def slow_trace(A, w, groups, bucket=None, most=None):
    """Try every group at every step, by a least-squares problem of its own."""
    gone, out, error, losses, turns = [], [], 0.0, {}, {}
    spent = {}
    while True:
        free = [i for i in range(len(groups)) if i not in out]
        errors = {i: best_without(A, w, gone + groups[i].tolist())[1] - error for i in free}
        if bucket is not None:
            free = [i for i in free if spent.get(int(bucket[i]), 0) < int(most[bucket[i]])]
        if not free:
            losses.update(errors)
            turns.update(dict.fromkeys(errors, len(groups)))
            number = range(len(groups))
            return torch.stack([losses[i] for i in number]), torch.tensor([turns[i] for i in number])
        best = min(free, key=lambda i: float(errors[i]))
        losses[best], turns[best] = errors[best], len(out)
        error = error + errors[best]
        out.append(best)
        gone += groups[best].tolist()
        if bucket is not None:
            spent[int(bucket[best])] = spent.get(int(bucket[best]), 0) + 1


def compare(A, W, groups, **how):
    losses, turns = traces(A, W, groups, **how)
    for row, w in enumerate(W):
        want, when = slow_trace(A, w, groups, **how)
        torch.testing.assert_close(losses[row], want)
        assert turns[row].tolist() == when.tolist()


@pytest.mark.parametrize("inputs", [1, 2, 6, 11])
def test_weights_go_as_in_a_slow_elimination(inputs):
    A, W = drawn(inputs, rows=4)
    compare(A, W, torch.arange(inputs)[:, None])


@pytest.mark.parametrize("groups", [[[0, 3], [1, 2], [4, 5]], [[5, 0, 1]], [[4, 1], [2, 0]]])
def test_groups_go_as_one_and_what_is_of_none_stays(groups):
    A, W = drawn()
    compare(A, W, torch.tensor(groups))


def test_a_bucket_loses_no_more_than_it_can():
    A, W = drawn(8, rows=5)
    bucket, most = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2]), torch.tensor([2, 1, 0])
    compare(A, W, torch.arange(8)[:, None], bucket=bucket, most=most)
    turns = traces(A, W, torch.arange(8)[:, None], bucket=bucket, most=most)[1]
    assert ((turns[:, :4] < 8).sum(1) == 2).all()
    assert ((turns[:, 4:7] < 8).sum(1) == 1).all()
    assert (turns[:, 7] == 8).all()


def test_rows_are_taken_in_parts_to_the_same_result(monkeypatch):
    A, W = drawn(rows=5)
    groups, kept = torch.arange(6)[:, None], W > 0
    want = *traces(A, W, groups), refit_rows(A, W, kept)
    monkeypatch.setattr("isoprune.linalg.row_elimination._NUMBERS", 1)
    torch.testing.assert_close((*traces(A, W, groups), refit_rows(A, W, kept)), want)


def test_the_first_to_go_is_the_best_single_choice_of_all():
    A, W = drawn()
    losses, turns = traces(A, W, torch.arange(6)[:, None])
    for row, w in enumerate(W):
        errors = torch.stack([best_without(A, w, [j])[1] for j in range(6)])
        assert int(turns[row].argmin()) == int(errors.argmin())
        torch.testing.assert_close(losses[row].gather(0, turns[row].argmin()), errors.min())


def test_with_inputs_that_do_not_mix_greedy_is_the_best_of_all_subsets():
    A, w = torch.diag(torch.tensor([1.0, 4, 9, 2, 3], dtype=torch.float64)), drawn(5, 1)[1]
    turns = traces(A, w, torch.arange(5)[:, None])[1][0]
    best = min(combinations(range(5), 3), key=lambda gone: float(best_without(A, w[0], list(gone))[1]))
    assert set(best) == set((turns < 3).nonzero().flatten().tolist())


def test_a_refit_row_is_the_least_squares_solution_of_what_it_keeps():
    A, W = drawn()
    kept = torch.tensor([[1, 0, 1, 1, 0, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]]).bool()
    got = refit_rows(A, W, kept)
    for w, stays, new in zip(W, kept, got, strict=True):
        torch.testing.assert_close(new, best_without(A, w, (~stays).nonzero().flatten().tolist())[0])
    assert torch.equal(got[2], torch.zeros(6, dtype=torch.float64))


def test_zero_weights_go_first_and_cost_nothing():
    A, W = drawn()
    W[:, 2] = W[:, 4] = 0
    losses, turns = traces(A, W, torch.arange(6)[:, None])
    assert (turns[:, [2, 4]] < 2).all()
    assert not losses[:, [2, 4]].any()
