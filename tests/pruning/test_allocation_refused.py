"""Ratios, patterns and scores that cannot be meant: what is refused, and with which words."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graph.small_networks import network, rows
from isoprune.pruning import make_plan
from isoprune.types import IsopruneError
from isoprune.verbs import prune
from pruning.rising_scores import rising

MISTAKES = {
    "ratio_one": ({"ratio": 1.0}, r"ratio is 1\.0, not a number in \[0, 1\).*0\.5 removes half"),
    "ratio_negative": ({"ratio": -0.1}, r"ratio is -0\.1, not a number in \[0, 1\)"),
    "ratio_of_pattern": ({"ratio": {"0": 2}}, r'ratio of "0" is 2, not a number'),
    "ratio_true": ({"ratio": True}, "ratio is True, not a number"),
    "pattern": ({"ratio": {"conv*": 0.5}}, r'The pattern "conv\*" matches no group.*such as 0, 2'),
    "scope": ({"ratio": 0.5, "scope": "intern"}, r"Unknown scope 'intern'.*Did you mean 'internal'\?"),
    "allocation": (
        {"ratio": 0.5, "allocation": "globl"},
        r"Unknown allocation 'globl'.*Did you mean 'global'\?",
    ),
    "criterion": (
        {"ratio": 0.5, "criterion": "l1norm"},
        r"Unknown criterion 'l1norm'. Did you mean 'l1_norm'\?",
    ),
    "round_to": ({"ratio": 0.5, "round_to": 0}, "round_to is 0, not a positive number"),
    "floor": ({"ratio": 0.5, "floor": 0}, "floor is 0, not a positive number"),
    "cap": ({"ratio": 0.5, "allocation": "global", "cap": 1}, r"cap is 1, not a number in \[0, 1\)"),
    "nothing_asked": ({}, "Give one of ratio, flops, parameters and latency; got none"),
    "too_much_asked": ({"ratio": 0.5, "flops": 0.5}, "got ratio, flops"),
    "flops": ({"flops": 0.0}, r"flops is 0\.0, not a number in \(0, 1\]"),
}


@pytest.mark.parametrize(("options", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told_in_one_line(mlp, options, message):
    with pytest.raises(IsopruneError, match=message) as caught:
        prune(*mlp, **options)
    assert "\n" not in str(caught.value)


def test_scores_that_do_not_fit_are_refused(graph):
    scores = rising(graph)
    with pytest.raises(IsopruneError, match=r"Group 0 has 10 channels but scores of shape \(9,\)"):
        make_plan(graph, scores | {"0": torch.ones(9)}, ratio=0.5)
    with pytest.raises(IsopruneError, match="Group 2 has 8 channels but scores of none: score every channel"):
        make_plan(graph, {"0": scores["0"]}, ratio=0.5)
    with pytest.raises(IsopruneError, match="scores of group 2 hold NaN or infinity"):
        make_plan(graph, scores | {"2": torch.full((8,), float("nan"))}, ratio=0.5)


def test_when_nothing_can_go_it_is_an_error_with_the_reason():
    model, x = network((lambda: nn.Sequential(nn.Linear(7, 5), nn.ReLU()), rows))
    with pytest.raises(
        IsopruneError,
        match=r"Nothing was removed of Sequential, though 0\.5 was asked for: the network's out",
    ):
        prune(model, x, 0.5)


def test_when_rounding_leaves_all_channels_it_is_an_error():
    with pytest.raises(
        IsopruneError, match="no group is wide enough to lose a channel within its constraints and round_to"
    ):
        prune(*network("mlp"), 0.5, round_to=64)


RESNET = {"layer[1-3].*.conv1": 0.6, "fc*": 0}  # as docs/pruning.md writes it


@pytest.mark.parametrize(
    "ratio",
    [
        RESNET,
        {"*": 0.5, "layer4": 0, "conv1": 0.1},
        {"layer1.0.conv1": 0.5, "avgpool": 0.0},
        {"layer1.0.conv1": 0.5, "fc.weight": 0, "bn1": 0},
    ],
)
def test_a_ratio_of_zero_may_name_whatever_the_network_has(ratio):
    import torchvision

    model = torchvision.models.resnet18()
    small = prune(model, torch.rand(1, 3, 32, 32), ratio)
    assert small.model.fc.out_features == 1000
    assert small.model.layer1[0].conv1.out_channels < 64


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("4", r"matches 4, which makes no channels that could go: the network's output.*the ratio 0"),
        ("1", r"matches 1, which makes no channels that could go\. Leave it out"),
        ("4.bias", r'matches 4\.bias, which .*give "4\.bias" the ratio 0'),
    ],
)
def test_a_pattern_of_what_must_stay_says_why(mlp, pattern, message):
    with pytest.raises(IsopruneError, match=message):
        prune(*mlp, {pattern: 0.5})


def test_a_name_that_nothing_has_is_refused_with_the_ratio_zero_too(mlp):
    with pytest.raises(IsopruneError, match='The pattern "head" matches no group'):
        prune(*mlp, {"head": 0})
    with pytest.raises(IsopruneError, match='The pattern "head" matches no group'):
        prune(*mlp, {"head": 0}, grain="weight")
