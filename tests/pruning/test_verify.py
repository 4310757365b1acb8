"""Shrunk networks against a slow oracle that shares no code with `verify`, and `verify` against errors."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from graph.attention_networks import Heads
from graph.small_networks import NETWORKS, image, network, rows, tokens
from isoprune.graph import trace
from isoprune.pruning import WrongNetwork, make_plan, shrink, verify
from isoprune.verbs import prune
from pruning.oracle import difference, zeroed_reads

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.matrix)])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_small_network_is_the_dense_one_whose_readers_are_zero(name, dtype, seed):
    model, x = network(name, dtype, seed)
    result = prune(model, x, 0.4, criterion="random", seed=seed)
    want = zeroed_reads(model, result.graph, result.plan)
    assert difference(want, result.model, x) < TOLERANCE[dtype]
    assert result.proof.relative_error < TOLERANCE[dtype]
    assert difference(model, result.model, x) > 1e-3  # something went that mattered


@pytest.mark.parametrize("name", ["flattened", "heads", "group_norm", "embedded"])
def test_it_holds_on_inputs_it_was_not_verified_on(name):
    model, x = network(name)
    result = prune(model, x[:1], 0.5)
    other = NETWORKS[name][1](5)
    other = other.flip(0).double() if other.is_floating_point() else other.flip(0)
    assert difference(zeroed_reads(model, result.graph, result.plan), result.model, other) < 1e-12


@pytest.mark.parametrize("name", NETWORKS)
def test_the_dense_network_is_untouched(name):
    model, x = network(name)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    versions = {k: v._version for k, v in model.named_parameters()}
    given = x.clone()
    state = torch.random.get_rng_state()
    result = prune(model, x, 0.5)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert {k: v._version for k, v in model.named_parameters()} == versions
    assert model.training
    assert result.model.training
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in model.parameters())
    assert not any(
        m._forward_hooks or m._forward_pre_hooks for m in [*model.modules(), *result.model.modules()]
    )
    assert torch.equal(x, given)
    assert torch.equal(torch.random.get_rng_state(), state)
    shared = {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in result.model.parameters()}
    assert not shared


def test_requires_grad_and_class_are_kept():
    model, x = network("residual")
    model.stem.weight.requires_grad_(False)
    small = prune(model, x, 0.5).model
    assert type(small) is type(model)
    assert {n: p.requires_grad for n, p in small.named_parameters()} == {
        n: p.requires_grad for n, p in model.named_parameters()
    }


def test_tied_weights_stay_tied():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.mix = nn.Embedding(11, 8), nn.Linear(8, 8)
            self.out = nn.Linear(8, 11, bias=False)
            self.out.weight = self.words.weight

        def forward(self, x):
            return self.out(F.gelu(self.mix(self.words(x))))

    model, x = network((Both, NETWORKS["embedded"][1]))
    result = prune(model, x, 0.5)
    assert result.model.out.weight is result.model.words.weight
    assert result.model.words.weight.shape == (11, 4)


def test_a_network_with_one_wrong_weight_is_not_handed_out():
    model, x = network("residual")
    result = prune(model, x, 0.5)
    with torch.no_grad():
        result.model.a.weight[0, 0] += 1e-3
    with pytest.raises(WrongNetwork, match="differs from the dense one by"):
        verify(model, result.model, result.graph, result.plan, x)


def test_a_network_that_does_not_run_is_not_handed_out():
    model, x = network("mlp")
    graph = trace(model, x)
    plan = graph.removing({"0": (1, 2)})
    with pytest.raises(WrongNetwork, match="The smaller network does not run: RuntimeError"):
        verify(model, nn.Sequential(nn.Linear(3, 5)).double(), graph, plan, x)


def test_outputs_that_are_not_finite_prove_nothing():
    model, x = network("mlp")
    with torch.no_grad():
        model[0].bias[:] = float("inf")
    with pytest.raises(WrongNetwork, match=r"NaN or infinity.*example_inputs like the data"):
        prune(model, x, 0.5)


def test_channels_are_zeroed_after_their_norm_and_activation():
    """A removed filter with a BatchNorm shift would still speak; zeroing the filter alone is not removing."""
    model, x = network("flattened")
    graph = trace(model, x)
    plan = graph.removing({"0": (0,)})
    small = shrink(model, graph, plan)
    masked = copy.deepcopy(model)
    with torch.no_grad():
        masked[0].weight[0] = 0
        masked[0].bias[0] = 0
        reached = model[:4](x)
        reached[:, 0] = 0
        want = model[4:](reached)
    torch.testing.assert_close(small(x), want)
    assert (small(x) - masked(x)).abs().max() > 1e-3


def test_a_statistic_over_removed_channels_is_named_and_restricted():
    model, x = network("layer_norm")
    graph = trace(model, x)
    plan = graph.removing({"up": (0, 5)})
    proof = verify(model, shrink(model, graph, plan), graph, plan, x)
    assert proof.statistics == ("native_layer_norm in norm",)
    stays = [1, 2, 3, 4, 6, 7]
    with torch.no_grad():
        h = F.layer_norm(model.up(x).permute(0, 2, 3, 1)[..., stays], (6,), model.norm.weight[stays],
                         model.norm.bias[stays])  # fmt: skip
        want = model.head(
            F.relu(F.linear(h, model.down.weight[:, stays, 0, 0], model.down.bias)).mean((1, 2))
        )
    torch.testing.assert_close(shrink(model, graph, plan)(x), want)


def test_a_mean_over_channels_is_over_those_that_stay():
    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.head = nn.Linear(7, 8), nn.Linear(1, 5)

        def forward(self, x):
            return self.head(F.relu(self.up(x)).mean(1, keepdim=True))

    model, x = network((Mean, rows))
    graph = trace(model, x)
    plan = graph.removing({"up": (2, 3)})
    small = shrink(model, graph, plan)
    assert verify(model, small, graph, plan, x).statistics
    h = F.relu(model.up(x))[:, [0, 1, 4, 5, 6, 7]]
    torch.testing.assert_close(small(x), model.head(h.mean(1, keepdim=True)))


@pytest.mark.parametrize("kind", [Heads, NETWORKS["fused"][0], NETWORKS["multihead"][0]])
def test_queries_make_up_for_a_scale_taken_from_the_width(kind):
    """Scores must be those of the dense network without the channels: q k / sqrt(old width)."""
    model, x = network((kind, tokens))
    graph = trace(model, x)
    plan = make_plan(graph, {g.name: torch.arange(g.size).double() for g in graph.groups}, ratio=0.5)
    small = shrink(model, graph, plan)
    assert verify(model, small, graph, plan, x).relative_error < 1e-12
    assert difference(zeroed_reads(model, graph, plan), small, x) < 1e-12


def test_one_sample_or_two_prove_the_same_network():
    model, _ = network("residual")
    one, two = (prune(model, image(n).double(), 0.5) for n in (1, 2))
    assert one.plan.removed == two.plan.removed
    for (name, a), b in zip(one.model.state_dict().items(), two.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("mask", [False, True])
def test_a_channel_that_never_varies_is_proven_on_drawn_weights_too(mask):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)
    ).double()
    # Statistics of data on which these filters, of which some go, are silent.
    model[1].running_var[:5] = 0
    result = prune(model, torch.randn(3, 1, 4, 4, dtype=torch.float64), 0.5, mask=mask)
    assert len(result.plan.removed["0"]) == 3
    assert any("and weights" in trial for trial in result.proof.trials)
