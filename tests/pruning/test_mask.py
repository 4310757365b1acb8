"""Masks: what they hold at zero stays there, whatever trains, copies, stores or exports the network."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import isoprune
from graph.small_networks import network
from isoprune.pruning.mask import check_masks, harden, masked, masks_of
from isoprune.types import IsopruneError

GRAINS = ("channel", "filter", "kernel", "vector", "weight", "2:4", "4x4")


class Sequences(nn.Module):
    """Layers whose weights torch keeps in unusual places: recurrent, packed attention, bare parameters."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(9, 8)
        self.memory = nn.LSTM(8, 12, 2, batch_first=True)
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)
        self.mix = nn.Parameter(torch.randn(12, 10))
        self.head = nn.Linear(10, 5)

    def forward(self, words):
        h, _ = self.memory(self.words(words))
        h, _ = self.attention(h, h, h, need_weights=False)
        return self.head(torch.tanh(h @ self.mix))


def made(grain, name="depthwise"):
    if name == "sequences":
        torch.manual_seed(0)
        model, x = Sequences().double().eval(), torch.randint(0, 9, (3, 4))
    else:
        model, x = network(name)
    return isoprune.prune(model, x, None if grain == "2:4" else 0.5, grain=grain, mask=True), x


def trained(model, x, steps=20):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("name", ["depthwise", "sequences"])
@pytest.mark.parametrize("grain", GRAINS)
def test_nothing_comes_back_under_momentum_and_weight_decay(grain, name):
    pruned, x = made(grain, name)
    held = masks_of(pruned.model)
    before = {n: p.clone() for n, p in pruned.model.named_parameters()}
    net = trained(copy.deepcopy(pruned.model), x)
    check_masks(net, held)
    assert any(not torch.equal(p, before[n]) for n, p in net.named_parameters())
    plain = dict(harden(net).named_parameters())
    assert set(plain) == {n for n, _ in pruned.dense.named_parameters()}
    for tensor, kept in held.items():
        assert not plain[tensor][~kept].any()
        assert plain[tensor][kept].any()


@pytest.mark.parametrize("grain", GRAINS)
def test_a_masked_network_computes_the_dense_one_with_those_elements_zero(grain):
    pruned, x = made(grain)
    dense = copy.deepcopy(pruned.dense)
    with torch.no_grad():
        for tensor, kept in masks_of(pruned.model).items():
            dense.get_parameter(tensor).masked_fill_(~kept, 0)
        torch.testing.assert_close(pruned.model(x), dense(x))
        assert (pruned.dense(x) - dense(x)).abs().max() > 1e-6


def test_masks_of_channels_compute_the_shrunk_network():
    pruned, x = made("channel")
    small = isoprune.prune(pruned.dense, x, 0.5)
    assert small.plan == pruned.plan
    with torch.no_grad():
        torch.testing.assert_close(pruned.model(x), small.model(x), rtol=1e-11, atol=1e-13)
        again = isoprune.shrink(pruned)
        torch.testing.assert_close(again.model(x), small.model(x))
    assert [tuple(p.shape) for p in again.model.parameters()] == [
        tuple(p.shape) for p in small.model.parameters()
    ]
    assert again.costs == small.costs


def test_masks_survive_copies_and_state_dicts():
    pruned, x = made("weight")
    net = trained(pruned.model, x, 3)
    twin = copy.deepcopy(isoprune.prune(pruned.dense, x, 0.5, grain="weight").model)
    twin.load_state_dict(net.state_dict())
    for other in (copy.deepcopy(net), twin):
        assert torch.equal(other(x), net(x))
        assert masks_of(other).keys() == masks_of(net).keys()
        trained(other, x, 3)
        check_masks(other, masks_of(net))


def test_hardening_leaves_the_masked_network_as_it_is():
    pruned, x = made("weight")
    plain = isoprune.harden(pruned)
    assert type(plain.model) is type(pruned.dense)
    assert not masks_of(plain.model)
    assert torch.equal(plain.model(x), pruned.model(x))
    assert masks_of(pruned.model)
    trained(pruned.model, x, 2)  # torch shares a parametrized class between copies
    check_masks(pruned.model, masks_of(pruned.model))


def test_a_mask_that_was_taken_away_is_noticed():
    pruned, _ = made("weight")
    held = masks_of(pruned.model)
    name = next(iter(held))
    module = pruned.model.get_submodule(name.rpartition(".")[0])
    nn.utils.parametrize.remove_parametrizations(module, "weight")
    with torch.no_grad():
        module.weight.fill_(1)
    number = int((~held[name]).sum())
    with pytest.raises(IsopruneError, match=f"{number} masked elements of {name} are not zero"):
        check_masks(pruned.model, held)


def test_a_mask_hides_what_is_not_finite():
    layer = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        layer.weight[0, 0] = torch.inf
    net = masked(nn.Sequential(layer), {"0.weight": torch.tensor([[False, True, True], [True] * 3])})
    assert torch.isfinite(net(torch.ones(1, 3))).all()


def test_tied_weights_have_one_mask():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(torch.relu(self.a(x)))

    x = torch.randn(4, 6)
    pruned = isoprune.prune(Tied(), x, 0.5, grain="weight")
    net = trained(pruned.model, x, 5)
    assert list(masks_of(net)) == ["a.weight"]
    assert torch.equal(net.a.weight, net.b.weight)
    assert int((net.b.weight == 0).sum()) == 18


def test_costs_of_masks_count_zeros_and_no_time():
    pruned, _ = made("weight")
    zeros = sum(int((~kept).sum()) for kept in masks_of(pruned.model).values())
    costs = pruned.costs
    assert costs.pruned.nonzero == costs.dense.parameters - zeros
    assert costs.pruned.parameters == costs.dense.parameters
    assert costs.pruned.flops == costs.dense.flops
    assert costs.ratios["flops"] == 0
    assert costs.ratios["parameters"] == pytest.approx(zeros / costs.dense.parameters)


def test_masked_channels_cannot_be_cut_out_where_single_weights_are_masked():
    pruned, _ = made("weight")
    with pytest.raises(IsopruneError, match="The plan is of weights, which cannot be cut out"):
        isoprune.shrink(pruned)
    with pytest.raises(IsopruneError, match="removing channels would lose the masks"):
        isoprune.prune(pruned, ratio=0.5)
    with pytest.raises(IsopruneError, match="masked by weights, and a plan of kernels cannot go on"):
        isoprune.prune(pruned, ratio=0.5, grain="kernel")
    with pytest.raises(IsopruneError, match="comes without its plan"):
        isoprune.prune(pruned.model, pruned.example_inputs, 0.5, grain="weight")
