"""Sizes that a forward takes from attributes follow, whatever they are made of; others are put back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graph.more_networks import Recurrent, tokens
from graph.small_networks import network
from isoprune.graph import trace
from isoprune.verbs import prune
from pruning.oracle import difference, zeroed_reads


def test_of_a_product_the_width_follows_and_the_count_stays():
    model, x = network("product")
    result = prune(model, x, 0.5)
    small = result.model
    assert (small.keys, small.heads, small.width) == (3, 2, 2)
    assert small.qkv.out_channels == 12
    assert result.attempts == ()


def test_of_a_quotient_the_width_follows_and_the_count_stays():
    model, x = network("quotient")
    result = prune(model, x, 0.5)
    assert (result.model.channels, result.model.paths) == (4, 2)
    assert [b.in_channels for b in result.model.branches] == [2, 2]
    assert result.attempts == ()


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_a_recurrent_layer_loses_the_same_states_in_all_gates_layers_and_directions(name):
    model, x = network(name)
    result = prune(model, x, 0.5)
    rnn, gates = result.model.rnn, {"lstm": 4, "gru": 3, "rnn": 1}[name]
    assert (rnn.input_size, rnn.hidden_size) == (4, 6)
    assert rnn.weight_hh_l0.shape == (gates * 6, 6)
    assert all(a is b for a, b in zip(rnn._flat_weights, rnn.parameters(), strict=True))
    assert {f.reason for f in result.graph.frozen} == {"the network's output"}
    (group,) = [g for g in result.graph.groups if g.name == "rnn"]
    (made,) = [m for m in group.members if m.tensor == "rnn.weight_hh_l0" and m.role == "out"]
    assert made.channels.flatten().tolist() == [*range(12)] * gates


def test_a_projected_state_has_a_width_of_its_own():
    model, x = network((lambda: Recurrent(proj_size=6), tokens))
    result = prune(model, x, 0.5)
    small = result.model.rnn
    assert (small.input_size, small.hidden_size, small.proj_size) == (4, 6, 3)
    assert difference(zeroed_reads(model, result.graph, result.plan), result.model, x) < 1e-12


def test_a_first_state_of_ones_own_size_stays():
    """Zeros of a size written into the forward do not follow, so the states that meet them stay."""

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.cell, self.head = nn.Linear(7, 8), nn.Linear(8, 8), nn.Linear(8, 5)

        def forward(self, x):
            state = torch.zeros(len(x), 8, dtype=x.dtype)
            for step in self.up(x).unbind(1):
                state = torch.tanh(step + self.cell(state))
            return self.head(state)

    graph = trace(*network((Own, tokens)))
    assert graph.groups == ()
    assert any("meets" in f.reason for f in graph.frozen)


def test_an_attribute_that_two_layers_share_is_put_back_and_the_rest_goes():
    """Heads of unlike width, one count for both: what no channel at the misfit explains is searched for."""

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.width = 8
            self.up, self.mid, self.head = nn.Linear(7, 8), nn.Linear(8, 12), nn.Linear(12, 5)

        def forward(self, x):
            steps = torch.arange(64, dtype=x.dtype).reshape(-1, self.width)  # 8 wide, whatever is pruned
            y = self.up(x).view(-1, self.width)
            return self.head(self.mid(y).relu()) + (steps.sum() + x.sum(1, keepdim=True).view(-1, 1)) * 0

    model, x = network((Shared, lambda: torch.randn(2, 7, generator=torch.Generator().manual_seed(1))))
    result = prune(model, x, 0.5)
    assert "mid" in result.plan.removed
    assert result.proof.relative_error < 1e-12


def test_windows_positions_and_masks_hold_no_channel_back():
    graph = trace(*network("windows"))
    assert [(g.name, g.size) for g in graph.groups] == [("up", 8), ("qkv", 8), ("qkv:2", 8)]
    assert all(f.tensor in ("table", "mask", "head.weight", "head.bias") for f in graph.frozen)


def test_a_norm_before_a_scale_from_the_width_is_scaled_channel_by_channel():
    model, x = network("product")
    result = prune(model, x, 0.5)
    kept = [i for i in range(8) if i not in result.plan.removed["qkv"]]
    assert len(kept) == 4
    ratio = (result.model.norm.weight / model.norm.weight[_rows(result, model)]).detach()
    # q's weights, and only those, make up for 2 ** -0.5 where there was 4 ** -0.5.
    q = torch.tensor([i % 6 < 2 for i in range(12)])
    torch.testing.assert_close(ratio[q], torch.full((4,), 0.5**0.5, dtype=torch.float64))
    torch.testing.assert_close(ratio[~q], torch.ones(8, dtype=torch.float64))


def _rows(result, model):
    """Return which of the dense rows of the projection stay, in order."""
    kept = result.graph.kept_ids(result.plan)
    (plane,) = [p for p in result.graph.tensors["norm.weight"][0] if not p.row][:1]
    return kept[plane.ids].nonzero().flatten()


class Scaled(nn.Module):
    """A product with a parameter that is laid out by a shape in which one size is left open."""

    def __init__(self):
        super().__init__()
        self.shape = (1, -1, 1, 1)
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 3)
        self.gain = nn.Parameter(torch.rand(8))

    def forward(self, x):
        return self.last(self.first(x) * self.gain.view(self.shape))


def test_a_size_that_is_left_open_stays_open():
    small = prune(Scaled(), torch.randn(2, 3, 8, 8), 0.5)
    assert small.model.gain.shape == (4,)
    assert small.model.shape == (1, -1, 1, 1)
