"""ThiNet's greedy and scales, and the LASSO on channels, against explicit contributions of every channel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import isoprune
from graph.small_networks import network
from isoprune.graph import trace
from isoprune.linalg.lasso import sparsest, violation
from isoprune.methods.criteria import scores_of
from isoprune.methods.criteria.thinet import greedy, scales
from isoprune.methods.layers.contributions import contributions
from isoprune.signals import Signals


def convolutional():
    with torch.random.fork_rng():
        torch.manual_seed(2)
        layers = [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3, padding=1), nn.ReLU(), nn.Flatten()]
        model = nn.Sequential(*layers, nn.Linear(5 * 16, 4)).double().eval()
        return model, torch.randn(7, 3, 6, 6, dtype=torch.float64)


def explicit(model, x):
    """Return what each channel of the first layer contributes to the second: [channels, numbers]."""
    with torch.no_grad():
        h, W = model[:2](x), model[2].weight
        return torch.stack(
            [F.conv2d(h[:, i : i + 1], W[:, i : i + 1], padding=1).flatten() for i in range(6)]
        )


def of(model, x, name="0"):
    units = [u for u in trace(model, x).groups if u.name == name]
    how = {"samples": 100, "places": 1000, "gigabytes": 1.0, "generator": torch.Generator()}
    return units, contributions(Signals(model, [(x[:3], None), (x[3:], None)]), units, **how)[name]


def test_overlaps_are_those_of_explicit_contributions():
    model, x = convolutional()
    Z = explicit(model, x)
    rows = Z.shape[1] / 5  # samples times places; a row has all five outputs
    torch.testing.assert_close(of(model, x)[1].total, Z @ Z.T / rows)


def test_every_greedy_step_is_the_best_single_step():
    model, x = convolutional()
    Z, order = explicit(model, x), greedy(of(model, x)[1].total)
    assert sorted(order) == list(range(6))
    for step, chosen in enumerate(order):
        went = order[:step]
        errors = {i: float(Z[[*went, i]].sum(0).square().sum()) for i in range(6) if i not in went}
        assert chosen == min(errors, key=lambda i: errors[i])


def test_of_two_channels_that_cancel_each_other_one_goes_right_after_the_other():
    model, x = convolutional()
    with torch.no_grad():
        for tensor in (model[0].weight, model[0].bias):
            tensor[4] = 3 * tensor[1]
        model[2].weight[:, 4] = -model[2].weight[:, 1] / 3 + 1e-3
    order = greedy(of(model, x)[1].total)
    assert abs(order.index(1) - order.index(4)) == 1


def test_scales_are_those_of_least_squares():
    model, x = convolutional()
    Z, kept = explicit(model, x), torch.tensor([True, False, True, True, False, True])
    want = torch.linalg.lstsq(Z[kept].T, Z.sum(0)[:, None]).solution.flatten()
    got = scales(of(model, x)[1].total, kept)
    torch.testing.assert_close(got[kept], want, rtol=1e-6, atol=1e-6)
    assert not got[~kept].any()


def test_prune_scales_what_stays_and_the_next_layer_misses_less():
    model, x = convolutional()
    data = [(x, torch.arange(7) % 4)]
    ratio = {"*": 0, "0": 0.5}
    small = isoprune.prune(model, x, ratio, criterion="thinet", batches=data)
    gone = set(greedy(of(model, x)[1].total)[:3])  # of all places; ten of each are looked at
    assert len(small.plan.removed["0"]) == len(gone) == 3
    kept = small.plan.kept["0"]
    quotients = small.model[2].weight.detach() / model[2].weight.detach()[:, kept]
    factors = quotients[:, :, 0, 0][0]
    torch.testing.assert_close(quotients, factors[None, :, None, None].expand_as(quotients))
    Z = explicit(model, x)
    scaled = (Z.sum(0) - (factors[:, None] * Z[kept]).sum(0)).norm()
    assert float(scaled) < float(Z[~kept].sum(0).norm())


@pytest.mark.parametrize("number", [2, 4])
def test_the_lasso_s_choice_meets_the_kkt_conditions_of_explicit_contributions(number):
    model, x = convolutional()
    units = of(model, x)[0]
    how = {"samples": 100, "places": 1000, "keep": {"0": number}, "generator": torch.Generator()}
    scores = scores_of("channel_lasso", Signals(model, [(x, None)]), units, **how)["0"]
    kept = scores.topk(number).indices
    Z = explicit(model, x) / (explicit(model, x).shape[1] / 5) ** 0.5
    M, b = (Z @ Z.T).numpy(), (Z @ Z.sum(0)).numpy()
    strength, beta = sparsest(M, b, number)
    assert set(np.flatnonzero(beta)) == set(kept.tolist())
    assert violation(b - M @ beta, beta, strength) <= 1e-8 * np.abs(b).max()


def test_the_lasso_is_refit_and_without_keep_it_ranks_by_a_path():
    model, x = network("mlp")
    x = torch.randn(64, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    small = isoprune.prune(model, x, 0.5, criterion="channel_lasso", batches=[(x, None)])
    assert [h["step"] for h in small.history] == ["prune", "repair"]
    units = trace(model, x).groups
    scores = scores_of("channel_lasso", Signals(model, [(x, None)]), units, generator=torch.Generator())
    assert all(len(s.unique()) > u.size / 2 for u, s in zip(units, scores.values(), strict=True))
