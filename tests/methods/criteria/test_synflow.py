"""SynFlow: closed form, what every layer conserves, layers at an extreme ratio, depth."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

import isoprune
from graph.small_networks import network
from isoprune.graph import trace
from isoprune.methods.criteria import scores_of
from isoprune.methods.criteria.synflow import Flow
from isoprune.pruning.grains import units_of
from isoprune.signals import Signals
from isoprune.types import IsopruneError


def drawn(*layers):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(*(make() for make in layers)).eval()


def chain():
    return drawn(
        lambda: nn.Conv2d(3, 6, 3, padding=1), lambda: nn.BatchNorm2d(6), nn.ReLU, lambda: nn.MaxPool2d(2),
        lambda: nn.Conv2d(6, 8, 3, stride=2), lambda: nn.GroupNorm(2, 8), nn.ReLU, nn.Flatten,
        lambda: nn.Linear(8, 5),
    )  # fmt: skip


def scored(model, x, grain="weight", **options):
    units = units_of(trace(model, x), grain)
    signals = Signals(model, example=x)
    return units, scores_of("synflow", signals, units, generator=torch.Generator(), **options)


def test_of_two_linear_layers_it_orders_weights_by_the_paths_through_them():
    model, x = network("mlp")
    model = nn.Sequential(model[0], nn.ReLU(), nn.Linear(10, 4)).double()
    A, B = (m.weight.detach().abs() for m in (model[0], model[2]))
    flow = {"0.weight": A * B.sum(0)[:, None], "2.weight": B * A.sum(1)[None]}
    got = Flow(Signals(model, example=x)).scores()
    for name, want in flow.items():
        torch.testing.assert_close(got[name], want / (B @ A).sum())
    _, scores = scored(model, x, rounds=1)
    want = torch.cat([flow[name].flatten() for name in scores]).argsort()
    order = torch.cat([s.flatten() for s in scores.values()]).argsort()
    assert torch.equal(order, want)


def test_as_much_goes_through_every_layer_and_through_a_channel_as_comes_out_of_it():
    model, x = chain(), torch.zeros(1, 3, 8, 8)
    flow = Flow(Signals(model, example=x)).scores()
    for name in ("0.weight", "1.weight", "4.weight", "5.weight", "8.weight"):
        assert float(flow[name].sum()) == pytest.approx(1, rel=1e-12), name
    torch.testing.assert_close(flow["0.weight"].sum((1, 2, 3)), flow["4.weight"].sum((0, 2, 3)))
    torch.testing.assert_close(flow["0.weight"].sum((1, 2, 3)), flow["1.weight"])
    assert not flow["0.bias"].any()


def kept(scores, ratio):
    """Return which part of each tensor one threshold over all keeps."""
    every = torch.cat([s.flatten() for s in scores.values()])
    edge = every.kthvalue(round(ratio * len(every))).values
    return {name: float((s > edge).double().mean()) for name, s in scores.items()}


def test_no_layer_is_emptied_at_99_percent_and_one_round_alone_empties_some():
    sizes = [64, 16, 100, 8, 100, 16, 100, 10]  # narrow layers between wide ones, the wide ones lose first
    layers = [nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(sizes)]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for layer in layers:
            layer.weight.normal_(0, 1, generator=generator)
    model, x = nn.Sequential(*layers), torch.zeros(1, 64)
    many, once = (kept(scored(model, x, rounds=n)[1], 0.995) for n in (100, 1))
    assert min(many.values()) > 0
    assert min(once.values()) == 0


def test_the_flow_still_arrives_after_99_percent_went_through_prune():
    model, x = chain(), torch.randn(2, 3, 8, 8)
    small = isoprune.prune(model, x, 0.98, criterion="synflow", grain="weight", allocation="global")
    flow = Flow(Signals(isoprune.harden(small), example=x)).scores()
    assert float(flow["8.weight"].sum()) == pytest.approx(1)
    assert all(bool(mask.any()) for mask in small.plan.kept.values())


@pytest.mark.parametrize("gain", [1e6, 1e-6])
def test_a_network_too_deep_for_float64_has_the_flow_of_one_of_gain_one(gain):
    generator = torch.Generator().manual_seed(0)
    matrices = [torch.randn(4, 4, dtype=torch.float64, generator=generator) / 4 for _ in range(80)]

    def of(scale):
        model = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in matrices)).double()
        with torch.no_grad():
            for layer, W in zip(model, matrices, strict=True):
                layer.weight.copy_(scale * W)
        return Flow(Signals(model, example=torch.zeros(1, 4, dtype=torch.float64))).scores()

    plain, scaled = of(1.0), of(gain)
    torch.testing.assert_close(plain, scaled, rtol=1e-9, atol=0)
    assert float(plain["0.weight"].sum()) == pytest.approx(1)


def test_a_lower_ratio_is_reached_on_the_way():
    """What is ordered after the first rounds does not depend on how many follow."""
    model, x = chain(), torch.zeros(1, 3, 8, 8)
    few, many = (scored(model, x, rounds=n, ratio=1 - 0.8**n)[1] for n in (4, 8))
    total = sum(s.numel() for s in few.values())
    gone = round(total * (1 - 0.8**4))
    for name in few:
        assert torch.equal(few[name] <= gone, many[name] <= gone)


def test_queries_and_keys_have_no_flow_and_are_refused_by_name():
    model, x = network("heads")
    with pytest.raises(IsopruneError, match="All 16 scores of q are zero"):
        isoprune.prune(model, x, 0.5, criterion="synflow")
    small = isoprune.prune(model, x, {"*": 0.5, "q": 0}, criterion="synflow")
    assert {"up", "v"} <= set(small.plan.removed)


def test_what_cannot_flow_is_refused():
    model, x = network("mlp")
    with pytest.raises(IsopruneError, match=r"rounds >= 1 and a ratio in \(0, 1\), not 0"):
        scored(model, x, rounds=0)
    with torch.no_grad():
        model[2].weight.zero_()
    with pytest.raises(IsopruneError, match="outputs for an input of ones add up to 0"):
        scored(model, x)
    with torch.no_grad():
        model[2].weight.fill_(float("nan"))
    with pytest.raises(IsopruneError, match="outputs for an input of ones add up to nan"):
        scored(model, x)
    with pytest.raises(IsopruneError, match="batches is empty"):
        Signals(model).example_inputs()
