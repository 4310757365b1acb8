"""OSSCAR against exhaustive search and refits solved anew, layer after layer from the front."""

from __future__ import annotations

import itertools
from itertools import pairwise

import pytest
import torch
from torch import nn

import isoprune
from graph.small_networks import network
from isoprune.graph import trace
from isoprune.methods.criteria import scores_of
from isoprune.signals import Signals

SAMPLES = 64
RIDGE = 1e-6


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def perceptron(*widths, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())]
        return nn.Sequential(*layers[:-1]).double().eval()


def prune(model, x, ratio=0.5, **how):
    return isoprune.prune(model, x, ratio, criterion="osscar", batches=[(x, None)], **how)


def refit(X, W, kept):
    """Return the best weights that are zero where ``kept`` is False, by solving anew, and their error."""
    G = X.mT @ X / len(X)
    G = G + RIDGE * G.diagonal().mean() * torch.eye(len(G), dtype=G.dtype)
    new = torch.zeros_like(W)
    new[:, kept] = torch.linalg.solve(G[kept][:, kept], (W @ G)[:, kept].mT).mT
    return new, float(((new - W) @ G * (new - W)).sum())


def off(small, model, x):
    with torch.no_grad():
        return float((small.model(x) - model(x)).norm() / model(x).norm())


@pytest.mark.parametrize("seed", range(4))
def test_where_one_unit_goes_it_is_the_best_of_all_and_of_several_the_choice_comes_near(seed):
    model, x = perceptron(6, 7, 5, seed=seed), drawn(SAMPLES, 6, seed=seed)
    with torch.no_grad():
        X, W = torch.relu(model[0](x)), model[2].weight
        for keep, slack in ((6, 1), (4, 1.1), (2, 1.1)):
            sets = itertools.combinations(range(7), keep)
            each = {one: refit(X, W, torch.zeros(7).bool().index_fill(0, torch.tensor(one), True))[1]
                    for one in sets}  # fmt: skip
            small = prune(model, x, {"0": 1 - keep / 7})
            chosen = tuple(small.plan.kept["0"].nonzero().flatten().tolist())
            assert len(chosen) == keep
            assert each[chosen] <= slack * min(each.values()) * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_swaps_never_raise_the_error(seed):
    model, x = perceptron(8, 14, 5, seed=seed), drawn(SAMPLES, 8, seed=seed)
    units = trace(model, x).groups
    errors = []
    with torch.no_grad():
        for swaps in (0, None):
            how = {"keep": {"0": 4}, "swaps": swaps, "generator": torch.Generator()}
            ranks = scores_of("osscar", Signals(model, [(x, None)]), units, **how)["0"]
            kept = torch.zeros(14).bool().index_fill(0, ranks.topk(4).indices, True)
            errors.append(refit(torch.relu(model[0](x)), model[2].weight, kept)[1])
    assert errors[1] <= errors[0] * (1 + 1e-12)


@torch.no_grad()
def test_inputs_that_are_uncorrelated_go_by_their_columns_and_the_others_stay_as_they_are():
    model = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Linear(6, 4)).double().eval()
    model[0].weight.copy_(torch.eye(6))
    x = torch.linalg.qr(drawn(SAMPLES, 6))[0]
    small = prune(model, x)
    longest = model[1].weight.square().sum(0).topk(3).indices.sort().values
    assert torch.equal(small.plan.kept["0"].nonzero().flatten(), longest)
    torch.testing.assert_close(small.model[1].weight, model[1].weight[:, longest])


@torch.no_grad()
def test_each_layer_is_refit_on_what_the_pruned_ones_before_it_make():
    model, x = perceptron(6, 9, 8, 3), drawn(SAMPLES, 6)
    small = prune(model, x)
    first, second = (small.plan.kept[name] for name in ("0", "2"))
    h = torch.relu(model[0](x))
    W, _ = refit(h, model[2].weight, first)
    h = torch.relu(h @ W.mT + model[2].bias)
    V, _ = refit(h, model[4].weight, second)
    torch.testing.assert_close(small.model[2].weight, W[second][:, first])
    torch.testing.assert_close(small.model[4].weight, V[:, second])
    for i in (0, 2, 4):  # biases stay
        rows = {0: first, 2: second, 4: slice(None)}[i]
        assert torch.equal(small.model[i].bias, model[i].bias[rows])


def test_the_choice_of_a_later_layer_depends_on_what_an_earlier_one_lost():
    model, x = perceptron(6, 12, 12, 4), drawn(SAMPLES, 6)
    apart = prune(model, x, {"2": 0.75}).plan.kept["2"]
    kept = [prune(model, x, {"0": r, "2": 0.75}).plan.kept["2"] for r in (0.25, 0.5, 0.75, 0.9)]
    assert any(not torch.equal(k, apart) for k in kept)


def test_doubles_go_and_nothing_is_lost_and_the_weights_come_with_the_choice():
    model, x = perceptron(6, 8, 4), drawn(SAMPLES, 6)
    with torch.no_grad():
        model[0].weight[4:] = 3 * model[0].weight[:4]
        model[0].bias[4:] = 3 * model[0].bias[:4]
    small = prune(model, x)
    assert [entry["step"] for entry in small.history] == ["prune"]
    assert sorted((small.plan.kept["0"].nonzero().flatten() % 4).tolist()) == [0, 1, 2, 3]
    assert off(small, model, drawn(50, 6, seed=1)) < 1e-3


@pytest.mark.parametrize("net", ["residual", "flattened", "grouped", "depthwise_twice", "bare"])
def test_networks_of_every_kind_are_pruned_and_err_less_than_by_their_norms(net):
    model, x = network(net)
    inputs = torch.cat([x + 0.3 * s * drawn(*x.shape, seed=s) for s in range(8)])
    how = {"batches": [(inputs, None)]}
    small = isoprune.prune(model, x, 0.5, criterion="osscar", **how)
    assert isoprune.verify(small)
    plain = isoprune.prune(model, x, 0.5)
    numbers = [{k: int(m.sum()) for k, m in p.plan.kept.items()} for p in (small, plain)]
    assert numbers[0] == numbers[1]
    assert off(small, model, inputs) < off(plain, model, inputs)


@pytest.mark.parametrize(
    ("net", "grain"), [("multihead", "channel"), ("heads", "channel"), ("heads", "head")]
)
def test_attentions_lose_channels_and_heads(net, grain):
    model, x = network(net)
    small = isoprune.prune(model, x, 0.5, criterion="osscar", batches=[(x, None)], grain=grain)
    assert small.costs.ratios["parameters"] > 0
    assert isoprune.verify(small)


def test_masked_channels_are_refit_as_removed_ones():
    model, x = perceptron(6, 12, 10, 4), drawn(SAMPLES, 6)
    held, small = prune(model, x, mask=True), prune(model, x)
    assert held.plan == small.plan
    torch.testing.assert_close(held.model(x), small.model(x))


def test_at_ratio_zero_nothing_changes():
    model, x = perceptron(6, 12, 4), drawn(SAMPLES, 6)
    small = prune(model, x, 0.0)
    assert all(torch.equal(v, small.model.state_dict()[k]) for k, v in model.state_dict().items())
