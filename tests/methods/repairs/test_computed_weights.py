"""Layers whose weight something computes: what is fitted to data leaves them as they are."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.parametrize import is_parametrized, register_parametrization

import isoprune


class Tail(nn.Module):
    """Two plain layers, a sum that keeps its channels, and a computed layer behind it."""

    def __init__(self, computed):
        super().__init__()
        self.a, self.b = nn.Linear(6, 16), nn.Linear(16, 6)
        self.last = computed(nn.Linear(6, 4))

    def forward(self, x):
        return self.last(x + self.b(self.a(x).relu()))


class Reader(nn.Module):
    """A computed layer that reads what goes."""

    def __init__(self, computed):
        super().__init__()
        self.a, self.b, self.last = nn.Linear(6, 16), computed(nn.Linear(16, 12)), nn.Linear(12, 4)

    def forward(self, x):
        return self.last(self.b(self.a(x).relu()).relu())


class Doubled(nn.Module):
    def forward(self, W):
        return 2 * W


def by_own(layer):
    register_parametrization(layer, "weight", Doubled())
    return layer


COMPUTED = {"weight norm": parametrizations.weight_norm, "own": by_own}


def made(kind, name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = kind(COMPUTED[name]).double().eval()
    x = torch.randn(60, 6, dtype=torch.float64, generator=Generator().manual_seed(1))
    return net, x


def error(small, dense, x):
    return (small(x) - dense(x)).square().mean().item()


@pytest.mark.parametrize("name", COMPUTED)
@pytest.mark.parametrize("repair", ["auto", "reconstruct", "balance"])
def test_one_that_reads_nothing_that_goes_stays_and_the_others_are_repaired(name, repair):
    net, x = made(Tail, name)
    pruned = isoprune.prune(net, x[:2], 0.5)
    repaired = isoprune.repair(pruned, repair, batches=[(x,)])
    assert torch.equal(repaired.model.last.weight, net.last.weight)
    least = error(pruned.model, net, x)
    assert error(repaired.model, net, x) <= least * (1 + 1e-9 if repair == "balance" else 0.5)


@pytest.mark.parametrize("name", COMPUTED)
@pytest.mark.parametrize("criterion", ["reconstruction", "thinet"])
def test_criteria_choose_by_what_it_multiplies_with_and_leave_it(name, criterion):
    net, x = made(Reader, name)
    by_norm = isoprune.prune(net, x[:2], 0.5)
    pruned = isoprune.prune(net, x[:2], 0.5, criterion=criterion, batches=[(x, torch.zeros(60).long())])
    kept = [pruned.plan.kept[key] for key in ("b", "a")]
    assert torch.allclose(pruned.model.b.weight, net.b.weight[kept[0]][:, kept[1]]) or name == "weight norm"
    assert is_parametrized(pruned.model.b)
    assert error(pruned.model, net, x) < 0.5 * error(by_norm.model, net, x)


@pytest.mark.parametrize("name", COMPUTED)
def test_one_that_reads_what_goes_stays_and_the_layers_behind_it_make_up_for_it(name):
    net, x = made(Reader, name)
    pruned = isoprune.prune(net, x[:2], 0.5)
    repaired = isoprune.repair(pruned, "reconstruct", batches=[(x,)])
    assert torch.equal(repaired.model.b.weight, pruned.model.b.weight)
    assert error(repaired.model, net, x) < 0.5 * error(pruned.model, net, x)
