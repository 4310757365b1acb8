"""Spectrum: singular values toward their mean, singular vectors kept."""

from __future__ import annotations

import pytest
import torch
from repair_networks import every_layer, run, seeded
from torch import nn

from isoprune.linalg import polar_factor
from isoprune.methods.layers.weights import weights
from isoprune.methods.repairs import spectrum
from isoprune.types import IsopruneError

CLOSE = {"rtol": 1e-9, "atol": 1e-10}


@pytest.mark.parametrize("strength", [0, 0.25, 1])
def test_singular_values_move_and_singular_vectors_stay(strength):
    net = seeded(every_layer)
    new = run(spectrum, net, strength=strength)
    for before, after in zip(weights(net), weights(new), strict=True):
        for W, V in zip(before.matrices, after.matrices, strict=True):
            sigma = torch.linalg.svdvals(W)
            want = (1 - strength) * sigma + strength * sigma.mean()
            torch.testing.assert_close(torch.linalg.svdvals(V), want, **CLOSE)
            # Same singular vectors, same order: the products with the old ones are symmetric and positive.
            torch.testing.assert_close(W @ V.mT, (W @ V.mT).mT, **CLOSE)
            torch.testing.assert_close(W.mT @ V, (W.mT @ V).mT, **CLOSE)
            torch.testing.assert_close(polar_factor(V), polar_factor(W), **CLOSE)
    assert torch.equal(net["linear"].bias, new["linear"].bias)


def test_strengths_compose():
    net = seeded(lambda: nn.Linear(5, 7))
    twice = run(spectrum, run(spectrum, net, strength=0.5), strength=0.2)
    torch.testing.assert_close(twice.weight, run(spectrum, net, strength=1 - 0.5 * 0.8).weight, **CLOSE)


def test_dead_filters_stay_dead_and_the_mean_is_of_the_living():
    net = seeded(lambda: nn.Linear(6, 4))
    net.weight.data[[0, 2]] = 0
    before = torch.linalg.svdvals(net.weight.detach())[:2]
    new = run(spectrum, net, strength=1).weight.detach()
    assert new[[0, 2]].abs().max() < 1e-12
    torch.testing.assert_close(torch.linalg.svdvals(new)[:2], before.mean().expand(2), **CLOSE)
    net.weight.data.zero_()
    assert (run(spectrum, net).weight == 0).all()


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
def test_bad_strength(strength):
    with pytest.raises(IsopruneError, match=r"strength is .*from 0 .* to 1"):
        run(spectrum, seeded(lambda: nn.Linear(2, 2)), strength=strength)


def test_nan_names_the_layer():
    net = nn.Sequential(nn.Linear(2, 2))
    net[0].weight.data[0, 0] = float("nan")
    with pytest.raises(IsopruneError, match=r"^0: W of shape \(2, 2\) holds NaN"):
        run(spectrum, net)
