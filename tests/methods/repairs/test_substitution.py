"""Merging, LBYL, folding and GRAIL: exact where what goes is made of what stays; GRAIL equals its formula."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import isoprune
from isoprune.methods.repairs.folding import _shrinkage
from isoprune.signals.modes import in_eval_mode


class Redundant(nn.Module):
    """Convolutions with BatchNorm, a sum and a flatten; ``act`` between them."""

    def __init__(self, act):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.block, self.act = nn.Conv2d(8, 8, 3, padding=1), act
        self.pool, self.head = nn.MaxPool2d(2), nn.Linear(32, 5)

    def forward(self, x):
        x = self.act(self.norm(self.stem(x)))
        x = self.act(x + self.block(x))
        return self.head(self.pool(x).flatten(1))


@torch.no_grad()
def redundant(act, factors):
    """Return a network whose channels 4 to 7 are ``factors`` [4, 4] times channels 0 to 3."""
    torch.manual_seed(0)
    net = Redundant(act).double().eval()
    net.norm.running_var.uniform_(0.5, 2)
    net.norm.running_mean.normal_()
    for layer in (net.stem, net.block):
        layer.weight[4:] = torch.einsum("ab,bcij->acij", factors, layer.weight[:4])
        layer.bias[4:] = factors @ layer.bias[:4]
    # z -> scale (z - mean) + bias is to keep the proportions: one scale for all, shifts in proportion.
    scale = torch.full((8,), 0.7).double()
    net.norm.running_var[4:] = net.norm.running_var[:4]
    net.norm.weight.copy_(scale * (net.norm.running_var + net.norm.eps).sqrt())
    net.norm.running_mean[4:] = factors @ net.norm.running_mean[:4]
    net.norm.bias.normal_()
    net.norm.bias[4:] = factors @ net.norm.bias[:4]
    return net


def first_half(net, x):
    """Return the network with the first half of its channels."""

    def first(_signals, units, *, generator):
        return {u.name: (torch.arange(u.size) < u.size // 2).double() for u in units}

    return isoprune.prune(net, x[:2], 0.5, criterion=first)


SCALED = torch.tensor([[2.0, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 1, 0], [0, 3.0, 0, 0]], dtype=torch.float64)
MIXED = torch.tensor([[1.0, -2, 0, 0], [0, 0.5, 1, 0], [1, 1, 1, -1], [0, 0, 0, -3.0]], dtype=torch.float64)
EQUAL = torch.eye(4, dtype=torch.float64)


@pytest.mark.parametrize(
    ("method", "act", "factors", "options"),
    [
        ("merging", nn.ReLU(), SCALED, {}),
        ("merging", nn.ReLU(), EQUAL, {}),
        ("folding", nn.Tanh(), EQUAL, {}),
        ("folding", nn.ReLU(), EQUAL, {"variance": "kept"}),
        ("lbyl", nn.ReLU(), SCALED, {"strength": 1e-12}),
        ("lbyl", nn.ReLU(), EQUAL, {"strength": 1e-12}),
        ("grail", nn.ReLU(), SCALED, {"strength": 1e-12}),
        ("grail", nn.Tanh(), EQUAL, {"strength": 1e-12}),
    ],
)
def test_the_function_comes_back_where_what_went_is_made_of_what_stays(method, act, factors, options):
    net = redundant(act, factors)
    x = torch.randn(9, 2, 4, 4, dtype=torch.float64)
    small = first_half(net, x)
    with torch.no_grad():
        want, before = net(x), small.model(x)
        now = isoprune.repair(small, method, batches=[(x, torch.zeros(9))], **options).model(x)
    assert (before - want).abs().max() > 0.1 * want.abs().max(), "nothing was lost: the test says nothing"
    torch.testing.assert_close(now, want, rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_lbyl_is_exact_on_linear_networks_whatever_the_signs():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 3)).double().eval()
    net[0].weight[4:], net[0].bias[4:] = MIXED @ net[0].weight[:4], MIXED @ net[0].bias[:4]
    x = torch.randn(5, 6, dtype=torch.float64)
    small = first_half(net, x)
    repaired = isoprune.repair(small, "lbyl", strength=1e-12)
    torch.testing.assert_close(repaired.model(x), net(x), rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_grail_is_its_formula_layer_after_layer():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 3))
    net = net.double().eval()
    x = torch.randn(40, 6, dtype=torch.float64)
    small = isoprune.prune(net, x[:2], 0.5)
    got = isoprune.repair(small, "grail", batches=[(x, torch.zeros(40))], strength=1e-2).model
    h, layers = x, [net[0], net[2], net[4]]
    W = layers[0].weight
    for units, layer, ours in zip(small.graph.groups, layers[1:], (got[2], got[4]), strict=True):
        kept = small.plan.kept[units.name]
        h = torch.relu(h @ W.mT + layers[layers.index(layer) - 1].bias)
        G = h.mT @ h
        K = G[kept][:, kept]
        B = torch.linalg.solve(K + 1e-2 * K.diagonal().mean() * torch.eye(len(K)), G[kept]).mT
        W, h = layer.weight @ B, h[:, kept]
        rows = small.plan.kept.get(small.graph.groups[-1].name) if layer is net[2] else slice(None)
        torch.testing.assert_close(ours.weight, W[rows])


def test_the_mean_of_equal_filters_varies_as_they_do_and_of_orthogonal_ones_by_their_number_less():
    rows = torch.cat([torch.eye(3), torch.ones(2, 3)]).double()
    member = torch.tensor([[1, 0], [1, 0], [1, 0], [0, 1], [0, 1]]).double()
    torch.testing.assert_close(_shrinkage(rows, member), torch.tensor([1 / 3, 1.0]).double())


@torch.no_grad()
def test_a_grouped_reader_stays_as_pruned():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1, groups=2), nn.Flatten())
    net, x = net.double().eval(), torch.randn(2, 1, 2, 2, dtype=torch.float64)
    small = isoprune.prune(net, x, 0.5)
    assert small.plan.removed
    repaired = isoprune.repair(small, "merging")
    with in_eval_mode(repaired.model):
        assert torch.equal(repaired.model[2].weight, small.model[2].weight)
