"""ERK: the parts of its formula, tensors that keep all, rounds, exact totals."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import isoprune
from graph.small_networks import network
from isoprune.pruning.erdos_renyi import erk
from isoprune.types import IsopruneError

SHAPES = {"a": (100, 200), "b": (64, 32, 3, 3), "c": (10, 100), "d": (4, 3, 2, 2)}
SIZES = {name: torch.Size(shape).numel() for name, shape in SHAPES.items()}


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.8, 0.9, 0.95, 0.99])
def test_parts_are_in_proportion_to_the_formula_but_of_tensors_that_keep_all(ratio):
    total = round((1 - ratio) * sum(SIZES.values()))
    keep = erk(SHAPES, SIZES, SIZES, total)
    assert sum(keep.values()) == total
    full = {name for name in SHAPES if keep[name] == SIZES[name]}
    rates = {name: keep[name] / sum(shape) for name, shape in SHAPES.items()}  # alike, as the formula says
    widest = max(SHAPES.keys() - full, key=lambda name: sum(SHAPES[name]))
    scale = rates[widest]
    for name, shape in SHAPES.items():
        slack = 1 / sum(shape) + 1 / sum(SHAPES[widest])  # a unit more or less
        if name in full:
            assert scale + slack >= SIZES[name] / sum(shape)
        else:
            assert rates[name] == pytest.approx(scale, abs=slack)
    assert full == {0.2: {"a", "c", "d"}, 0.5: {"c", "d"}, 0.8: {"c", "d"}, 0.9: {"d"}}.get(ratio, set())


def test_what_is_gone_already_is_not_kept_and_others_take_its_part():
    most = SIZES | {"c": 50}
    keep = erk(SHAPES, SIZES, most, 3000)
    assert keep["c"] == 50
    assert sum(keep.values()) == 3000
    with pytest.raises(IsopruneError, match="99 units are to stay, and there are 10"):
        erk({"c": (10, 1)}, {"c": 10}, {"c": 10}, 99)


@pytest.mark.parametrize("grain", ["weight", "kernel", "filter"])
def test_prune_keeps_the_highest_scores_of_each_tensor_round_after_round(grain):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 32, 3), nn.Conv2d(32, 8, 1))
    x = torch.randn(1, 3, 8, 8)
    first = isoprune.prune(model, x, 0.5, grain=grain, allocation="erk")
    second = isoprune.prune(first, ratio=0.5, grain=grain, allocation="erk")
    size = {"weight": 5296, "kernel": 816, "filter": 56}[grain]
    gone = [sum(map(len, p.plan.removed.values())) for p in (first, second)]
    left = size - -(-size // 2)
    assert gone == [size - left, size - left + -(-left // 2)]
    parts = {name: float(mask.double().mean()) for name, mask in second.plan.kept.items()}
    assert parts["1.weight"] < min([v for k, v in parts.items() if k != "1.weight"], default=1)
    if grain == "weight":
        W, kept = model[1].weight.detach().abs(), second.plan.kept["1.weight"]
        assert float(W[kept].min()) >= float(W[~kept].max())
    assert second.plan.request["allocation"] == "erk"


def test_channels_have_no_shape_and_are_refused():
    model, x = network("mlp")
    with pytest.raises(IsopruneError, match=r"'erk' goes by the shapes of single tensors.*grain='weight'"):
        isoprune.prune(model, x, 0.5, allocation="erk")
