"""Ratio -> how many channels: closed forms, floors, and messages for what cannot be meant."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from graph.small_networks import network, rows
from isoprune.graph import trace
from isoprune.pruning import Costs, NothingRemoved, make_plan
from isoprune.pruning.allocation import global_ranking, producers, removed_of
from isoprune.types import IsopruneError
from isoprune.verbs import prune
from pruning.rising_scores import rising


@given(st.integers(2, 3000), st.integers(0, 999))
def test_a_ratio_removes_its_share_rounded_up_and_never_the_last_channel(size, thousandths):
    removed = removed_of(size, thousandths / 1000)
    assert removed == min(-(-size * thousandths // 1000), size - 1)  # integers: no rounding of 0.1 * 10


@pytest.mark.parametrize("ratio", [0, 0.1, 0.25, 0.5, 0.9, 0.99])
def test_the_lowest_scores_go(graph, ratio):
    plan = make_plan(graph, rising(graph), ratio=ratio)
    for g in graph.groups:
        n = min(math.ceil(ratio * g.size - 1e-9), g.size - 1)
        assert plan.removed.get(g.name, ()) == tuple(range(n))


def test_of_equal_scores_the_first_stay(graph):
    plan = make_plan(graph, {g.name: torch.ones(g.size) for g in graph.groups}, ratio=0.5)
    assert plan.removed == {"0": (5, 6, 7, 8, 9), "2": (4, 5, 6, 7)}


@pytest.mark.parametrize("name", ["mlp", "residual", "heads", "grouped"])
def test_ratio_zero_is_the_identity_to_the_bit(name):
    model, x = network(name)
    result = prune(model, x, 0)
    assert result.plan.removed == {}
    small = result.model.state_dict()
    assert all(torch.equal(v, small[k]) for k, v in model.state_dict().items())
    assert torch.equal(model(x), result.model(x))


@pytest.mark.parametrize("name", ["mlp", "residual", "joined", "fused", "grouped_queries"])
def test_the_classifier_keeps_its_outputs(name):
    model, x = network(name)
    assert prune(model, x, 0.9).model(x).shape == model(x).shape


@pytest.mark.parametrize("name", ["mlp", "residual", "joined", "shuffled", "fused"])
def test_at_the_highest_ratio_one_channel_of_each_group_is_left(name):
    model, x = network(name)
    result = prune(model, x, 0.999)
    for g in result.graph.groups:
        assert len(result.plan.removed[g.name]) < g.size
    assert result.proof.relative_error < 1e-12


def test_the_last_pattern_that_matches_wins(graph):
    plan = make_plan(graph, rising(graph), ratio={"*": 0.5, "[0-1]": 0.2})
    assert {k: len(v) for k, v in plan.removed.items()} == {"0": 2, "2": 4}
    plan = make_plan(graph, rising(graph), ratio={"[0-1]": 0.2, "*": 0.5})
    assert {k: len(v) for k, v in plan.removed.items()} == {"0": 5, "2": 4}


def test_groups_that_no_pattern_names_keep_all(graph):
    assert make_plan(graph, rising(graph), ratio={"2": 0.5}).removed == {"2": (0, 1, 2, 3)}


def test_a_pattern_may_name_any_layer_that_makes_the_channels():
    graph = trace(*network("residual"))
    group = graph.group("stem")
    assert producers(group) == ["stem", "a", "b"]
    assert set(make_plan(graph, rising(graph), ratio={"b": 0.5}).removed) == {"stem"}


def test_internal_channels_are_those_of_one_layer():
    graph = trace(*network("residual"))
    assert set(make_plan(graph, rising(graph), ratio=0.5, scope="internal").removed) == {"inner"}
    assert set(make_plan(graph, rising(graph), ratio=0.5).removed) == {"stem", "inner"}


def slow_ranking(groups, scores, ratio, cap):
    """Take the lowest relative score again and again, as long as its group may lose one."""
    left = {g.name: g.size for g in groups}
    relative = sorted(
        (float(s / scores[g.name].mean()), g.name) for g in groups for s in scores[g.name].double()
    )
    wanted = min(math.ceil(ratio * sum(left.values()) - 1e-9), sum(left.values()) - 1)
    for _, name in relative:
        size = next(g.size for g in groups if g.name == name)
        floor = size - min(math.ceil(cap * size - 1e-9), size - 1)
        if wanted and left[name] > floor:
            left[name] -= 1
            wanted -= 1
    return left


@pytest.mark.parametrize("cap", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("ratio", [0.1, 0.4, 0.8])
def test_global_ranking_is_the_slow_one_and_no_group_falls_below_its_floor(graph, ratio, cap):
    scores = {
        g.name: torch.rand(g.size, generator=torch.Generator().manual_seed(i), dtype=torch.float64) + 0.01 * i
        for i, g in enumerate(graph.groups)
    }
    keep = global_ranking(graph.groups, scores, ratio, cap=cap)
    assert keep == slow_ranking(graph.groups, scores, ratio, cap)
    assert all(keep[g.name] >= g.size * (1 - cap) - 1 for g in graph.groups)


def test_global_ranking_cannot_empty_a_group_of_low_scores(graph):
    scores = {"0": torch.full((10,), 1.0), "2": torch.cat([torch.full((7,), 1e-9), torch.ones(1)])}
    keep = global_ranking(graph.groups, scores, 0.6, cap=0.5)
    assert keep["2"] == 4


def test_global_plans_verify_and_differ_from_uniform_ones():
    model, x = network("joined")
    result = prune(model, x, 0.3, allocation="global", criterion="random")
    assert result.proof.relative_error < 1e-12


@pytest.mark.parametrize("to", [2, 4, 8])
@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7])
def test_kept_channels_are_rounded_up_to_a_multiple(ratio, to):
    model, x = network(
        (lambda: nn.Sequential(nn.Linear(7, 24), nn.ReLU(), nn.Linear(24, 40), nn.Linear(40, 5)), rows)
    )
    result = prune(model, x, ratio, round_to=to)
    for g in result.graph.groups:
        kept = g.size - len(result.plan.removed.get(g.name, ()))
        assert kept % to == 0
        assert 0 <= kept - (g.size - removed_of(g.size, ratio)) < to


@pytest.mark.parametrize("allocation", ["uniform", "global"])
@pytest.mark.parametrize("name", ["mlp", "residual", "joined", "shuffled", "heads", "fused", "grouped"])
def test_no_group_keeps_fewer_than_the_floor(name, allocation):
    model, x = network(name)
    for floor in (1, 2, 3, 5, 100):
        try:
            result = prune(model, x, 0.9, floor=floor, allocation=allocation, criterion="random")
        except NothingRemoved:
            assert floor > 1
            continue
        for g in result.graph.groups:
            assert g.size - len(result.plan.removed.get(g.name, ())) >= min(floor, g.size)


def test_a_floor_holds_nothing_back_that_is_wider(graph):
    plans = [make_plan(graph, rising(graph), ratio=0.5, floor=n).removed for n in (1, 4, 5)]
    assert plans[0] == plans[1]
    assert {k: len(v) for k, v in plans[2].items()} == {"0": 5, "2": 3}


@pytest.mark.parametrize("what", ["flops", "parameters"])
@pytest.mark.parametrize("target", [0.8, 0.5, 0.25])
def test_a_target_is_met_within_one_step_of_bisection(what, target):
    model, x = network(
        (lambda: nn.Sequential(nn.Linear(7, 64), nn.ReLU(), nn.Linear(64, 64), nn.Linear(64, 5)), rows)
    )
    result = prune(model, x, **{what: target})
    left = 1 - result.costs.ratios[what]
    one_less = prune(model, x, min(result.plan.request["ratio"], 1) - 2 / 64).costs
    assert left <= target
    assert 1 - one_less.ratios[what] > target


def test_a_target_out_of_reach_says_what_is_left():
    with pytest.raises(
        IsopruneError, match=r"No plan brings flops to 0\.01 of the dense network: 0\.\d+ is left"
    ):
        prune(*network("mlp"), flops=0.01)


def test_costs_are_those_of_the_two_networks():
    model, x = network("flattened")
    result = prune(model, x, 0.5)
    costs = result.costs
    count = [sum(p.numel() for p in m.parameters()) for m in (model, result.model)]
    assert [costs.dense.parameters, costs.pruned.parameters] == count
    assert costs.ratios["parameters"] == pytest.approx(1 - count[1] / count[0])
    # conv 4 x 3 x 3x3 at 4x4 positions, linear 16 -> 6 -> 5; half: 2 filters, 8 -> 3 -> 5
    assert (costs.dense.flops, costs.pruned.flops) == (4 * 27 * 16 + 96 + 30, 2 * 27 * 16 + 24 + 15)
    assert costs.ratios["filters"] == costs.ratios["units"] == pytest.approx(0.5)
    assert costs.units == (("0", 4, 2), ("5", 6, 3))
    assert Costs.from_dict(json.loads(json.dumps(costs.as_dict()))) == costs


@pytest.mark.parametrize(("name", "macs"), [
    ("depthwise", 3 * 8 * 36 + 8 * 9 * 16 + 8 * 4 * 16 + 4 * 5),
    ("transposed", 3 * 8 * 36 + 8 * 12 * 9 * 36 + 12 * 5 * 64),
    ("grouped", 3 * 8 * 36 + 12 * 4 * 9 * 16 + 12 * 5 * 16),
])  # fmt: skip
def test_multiply_adds_are_those_counted_by_hand(name, macs):
    model, x = network(name)
    assert prune(model, x, 0.5).costs.dense.flops == macs
