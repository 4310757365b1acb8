"""`bn_scale` against its definition; what no BatchNorm follows is refused, or stays where others compete."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import isoprune
from graph.small_networks import network
from isoprune.graph import trace
from isoprune.types import IsopruneError
from methods.criteria.test_values import scored


def test_it_is_the_size_of_the_scale_and_of_several_the_mean():
    model, x = network("residual")
    got = scored("bn_scale", model, trace(model, x).groups, x)
    want = (model.norm_a.weight.abs() + model.norm_b.weight.abs()) / 2
    assert list(got) == ["stem"]  # nothing normalises what `inner` makes
    torch.testing.assert_close(got["stem"], want.detach())
    model, x = network("depthwise_twice")  # two channels of the BatchNorm go with one of the first layer
    got = scored("bn_scale", model, trace(model, x).groups, x)
    torch.testing.assert_close(got["up"], model.norm.weight.detach().abs().reshape(8, 2).mean(1))


def test_one_threshold_on_the_scales_of_all_layers_as_they_are():
    layers = [
        nn.Conv2d(3, 4, 1),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 5, 1),
        nn.BatchNorm2d(5),
        nn.Conv2d(5, 6, 1),
    ]
    model = nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(6, 2, 1)).double().eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([5.0, -1, 7, -6]))
        model[3].weight.copy_(torch.tensor([0.2, 9, -0.3, 0.4, 4]))
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    small = isoprune.prune(model, x, 4 / 9, criterion="bn_scale", allocation="global")
    assert small.plan.removed == {"0": (1,), "2": (0, 2, 3)}
    assert [(s.name, s.reason) for s in small.spared] == [("4", "the criterion has no scores for them")]


def test_channels_without_a_batchnorm_are_refused_by_name_or_left_out():
    model, x = network("flattened")
    with pytest.raises(IsopruneError, match="Group 5 has 6 channels but scores of none") as refused:
        isoprune.prune(model, x, 0.5, criterion="bn_scale")
    assert 'ratio={"*": ..., "5": 0}' in str(refused.value)
    small = isoprune.prune(model, x, {"*": 0.5, "5": 0}, criterion="bn_scale")
    lowest = model[1].weight.abs().argsort()[:2].sort().values
    assert small.plan.removed == {"0": tuple(lowest.tolist())}
    model, x = network("mlp")
    with pytest.raises(IsopruneError, match="no BatchNorm with a scale follows 0, 2"):
        isoprune.prune(model, x, 0.5, criterion="bn_scale")
