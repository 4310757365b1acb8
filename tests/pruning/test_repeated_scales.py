"""A scale computed from a width, met several times: made up for once a layer, however often it is called."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from isoprune.pruning import drift
from isoprune.verbs import prune
from pruning.module_oracle import unequal
from pruning.oracle import zeroed_reads

G = torch.Generator().manual_seed(0)


class Attention(nn.Module):
    """Reads its own width, as attention does; ``calls`` times, with the same weights."""

    def __init__(self, calls):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 3)
        self.q, self.k, self.v = nn.Linear(8, 12), nn.Linear(8, 12), nn.Linear(8, 8)
        self.calls = calls

    def mixed(self, h):
        weights = self.q(h) @ self.k(h).transpose(1, 2) * self.k.out_features**-0.5
        return h + weights.softmax(-1) @ self.v(h)

    def forward(self, x):
        h = self.first(x)
        for _ in range(self.calls):
            h = self.mixed(h)
        return self.last(h)


class Twice(Attention):
    """One call, scaled by a width twice."""

    def mixed(self, h):
        q = self.q(h) * self.k.out_features**-0.25
        return h + (q @ self.k(h).transpose(1, 2) * self.k.out_features**-0.25).softmax(-1) @ self.v(h)


class Normed(Attention):
    """The scaled values come of a norm that is called again."""

    def __init__(self, calls):
        super().__init__(calls)
        self.norm = nn.LayerNorm(12)

    def mixed(self, h):
        q = self.norm(self.q(h)) * self.q.out_features**-0.5
        return h + (q @ self.k(h).transpose(1, 2)).softmax(-1) @ self.v(h)


@pytest.mark.parametrize("network", [Attention, Twice, Normed])
@pytest.mark.parametrize("calls", [1, 2, 3])
def test_the_width_goes_and_its_scale_is_made_up_for(network, calls):
    model = network(calls).eval()
    x = torch.randn(2, 6, 5, generator=G)
    pruned = prune(model, x, 0.5)
    assert pruned.model.q.out_features == pruned.model.k.out_features == 6
    if network is not Normed:  # a norm over channels that went is listed, and the oracle has none
        # Weights in float32 hold the factor to seven digits.
        dense = zeroed_reads(model.double(), pruned.graph, pruned.plan)
        assert unequal(dense, pruned.model.double(), (x.double(),)) is None


def test_channels_are_counted_in_planes_that_do_not_lie_in_a_row_in_memory():
    """As those of heads that a forward transposes: torch.isin asks its second tensor for a view in a row."""
    planes: Any = [SimpleNamespace(core=torch.arange(6).reshape(2, 3).t())]
    assert drift._number_in(planes, torch.tensor([1, 4, 9])) == 2
