"""Reconstruction of attention: exact where it can be, least squares where it cannot."""

from __future__ import annotations

import copy

import pytest
import torch
from attention_networks import HEADS, WIDTH, Attends, by_order, combine_, drawn, repaired
from repair_networks import inputs
from torch import nn
from torch.nn.utils import prune as masks

from isoprune.types import Plan


@pytest.mark.parametrize("widths", [{}, {"kdim": 6, "vdim": 8}], ids=str)
@pytest.mark.parametrize("first", [True, False])
def test_what_others_know_too_comes_back_exactly(first, widths, unpulled):
    x, unseen = inputs(300, 6, 8).split([200, 100])
    dense = drawn(lambda: Attends(first, **widths))
    combine_(dense, by_order(dense, x).plan)
    result = by_order(dense, x)
    assert result.model.attn.head_dim == 2
    new = repaired(result.model, dense, x, result.plan, give=0.0)
    with torch.no_grad():
        want = dense(unseen)
        assert (result.model(unseen) - want).norm() > 0.1 * want.norm()
        torch.testing.assert_close(new(unseen), want, rtol=1e-7, atol=1e-7)


def test_the_order_of_dimensions_is_all_that_batch_first_changes():
    """Places and folds are of samples in both."""
    x = inputs(60, 6, 8)
    results = {}
    for first in (True, False):
        dense = drawn(lambda first=first: Attends(first))
        result = by_order(dense, x)
        results[first] = repaired(result.model, dense, x, result.plan, places=3)
    for a, b in zip(*(net.parameters() for net in results.values()), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def mixed(net, x):
    """Return what the output projection of a `Bare` reads, by the formula."""
    W, b = net.attn.in_proj_weight.chunk(3), net.attn.in_proj_bias.chunk(3)
    q, k, v = ((x @ M.mT + c).unflatten(-1, (HEADS, -1)) for M, c in zip(W, b, strict=True))
    scores = torch.einsum("nahd,nbhd->nhab", q, k) / q.shape[-1] ** 0.5
    return torch.einsum("nhab,nbhd->nahd", scores.softmax(-1), v).flatten(2)


@torch.no_grad()
def by_hand(teacher, student, x):
    """Return inputs and wanted outputs of the four projections: the last reads what the first three make."""
    three = x @ teacher.attn.in_proj_weight.mT + teacher.attn.in_proj_bias
    wanted = mixed(teacher, x) @ teacher.attn.out_proj.weight.mT + teacher.attn.out_proj.bias
    return [(x, part) for part in three.chunk(3, -1)] + [(mixed(student, x), wanted)]


class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x):
        return self.attn(x, x, x)[0]


def masked(net, ratio=0.5):
    pruned = copy.deepcopy(net)
    masks.l1_unstructured(pruned.attn, "in_proj_weight", ratio)
    masks.l1_unstructured(pruned.attn.out_proj, "weight", ratio)
    return pruned


def test_under_a_mask_each_row_is_the_least_squares_of_what_it_may_read(unpulled):
    x = inputs(120, 5, WIDTH)
    dense = drawn(Bare)
    pruned = masked(dense)
    new = repaired(pruned, dense, x, Plan())
    designs = by_hand(dense, new, x)
    weights = [*new.attn.in_proj_weight.chunk(3), new.attn.out_proj.weight]
    biases = [*new.attn.in_proj_bias.chunk(3), new.attn.out_proj.bias]
    allowed = [*pruned.attn.in_proj_weight_mask.chunk(3), pruned.attn.out_proj.weight_mask]
    for (X, Y), W, b, mask in zip(designs, weights, biases, allowed, strict=True):
        X, Y = X.flatten(0, 1), Y.flatten(0, 1)
        for row, inside in enumerate(mask.bool()):
            A = torch.cat([X[:, inside], torch.ones(len(X), 1)], 1)
            want = torch.linalg.lstsq(A, Y[:, row]).solution
            torch.testing.assert_close(W[row, inside], want[:-1], rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(b[row], want[-1], rtol=1e-5, atol=1e-6)
            assert not W[row, ~inside].any()
    with torch.no_grad():  # torch's own forward, masks applied anew, is what was fitted
        torch.testing.assert_close(new(x), designs[3][0] @ weights[3].mT + biases[3])


def test_channels_of_a_masked_network_can_go():
    """The plan is then over the tensors that the masks are put on."""
    x, unseen = inputs(150, 6, 8).split([100, 50])
    dense = drawn(Attends)
    masks.l1_unstructured(dense.attn, "in_proj_weight", 0.2)
    masks.l1_unstructured(dense.head, "weight", 0.2)
    result = by_order(dense, x)
    new = repaired(result.model, dense, x, result.plan)
    with torch.no_grad():
        want = dense(unseen)
        assert (new(unseen) - want).norm() < 0.9 * (result.model(unseen) - want).norm()
    assert torch.equal(new.attn.in_proj_weight_mask, result.model.attn.in_proj_weight_mask)
    assert not new.attn.in_proj_weight[new.attn.in_proj_weight_mask == 0].any()


def test_a_masked_attention_comes_nearer_on_inputs_it_never_saw():
    x, unseen = inputs(300, 5, WIDTH).split([200, 100])
    dense = drawn(Bare)
    pruned = masked(dense)
    new = repaired(pruned, dense, x, Plan())
    with torch.no_grad():
        want = dense(unseen)
        assert (new(unseen) - want).norm() < 0.9 * (pruned(unseen) - want).norm()


def test_dead_filters_stay_dead():
    x = inputs(60, 6, 8)
    dense = drawn(Attends)
    kept = by_order(dense, x)
    row = WIDTH + min(set(range(WIDTH)) - set(kept.plan.removed["attn"]))
    dense.attn.in_proj_weight.data[row], dense.attn.in_proj_bias.data[row] = 0, 0
    result = by_order(dense, x)
    new = repaired(result.model, dense, x, result.plan)
    assert all(p.isfinite().all() for p in new.parameters())
    k, bias = new.attn.in_proj_weight.chunk(3)[1], new.attn.in_proj_bias.chunk(3)[1]
    assert k[0].abs().max() < 1e-12 > bias[0].abs()
    assert k[1:].abs().max(1).values.min() > 1e-3


def test_nothing_removed_nothing_changed():
    x = inputs(60, 6, 8)
    dense = drawn(Attends)
    new = repaired(copy.deepcopy(dense), dense, x, Plan())
    for a, b in zip(new.parameters(), dense.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-8)
