"""Attributes that a forward compares with a size, or builds tensors from, follow what is pruned."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from graph.more_networks import tokens
from graph.small_networks import network
from isoprune.verbs import prune
from pruning.oracle import difference, zeroed_reads


class Checked(nn.Module):
    """Two layers, and a check or a constant between them."""

    def __init__(self, between, parameters=0):
        super().__init__()
        self.width, self.between = 16, between
        self.up, self.mid, self.head = nn.Linear(7, 16), nn.Linear(16, 8), nn.Linear(8, 5)
        self.own = nn.ParameterList(torch.ones(16) for _ in range(parameters))

    def forward(self, x):
        return self.head(F.relu(self.mid(self.between(self, F.relu(self.up(x))))))


def asserted(net, h):
    assert h.shape[-1] == net.width
    return h


def refused(net, h):
    if net.width != h.size(2):
        raise ValueError(f"{h.size(2)} channels, not {net.width}")
    return h


def whole_shape(net, h):
    if h.shape != (2, h.shape[1], net.width):
        raise ValueError("another shape")
    return h


def unpacked(net, h):
    b, n, c = h.shape
    assert c == net.width, "another width"
    return h.reshape(b * n, net.width).reshape(b, n, c)


def shifted_on(net, h):
    """The first of them is moved by none: y[:, 1:] is h[:, :-1]."""
    first = h.new_zeros(h.size(0), 1, net.width)
    return torch.cat([first, h[:, :-1]], 1)


CHECKS = {
    "assert": asserted,
    "raise": refused,
    "the whole shape": whole_shape,
    "unpacked": unpacked,
    "new_zeros of an attribute": shifted_on,
    "zeros of a shape": lambda _, h: torch.zeros(h.shape, dtype=h.dtype) + h,
    "zeros of a size": lambda _, h: torch.cat([torch.zeros(2, 1, h.size(2), dtype=h.dtype), h], 1),
    "full of an attribute": lambda net, h: torch.full((net.width,), 0.5, dtype=h.dtype) * h,
    "new_full of a shape": lambda _, h: h.new_full(h.shape, 2) * h,
    "new_ones, widened": lambda net, h: h + h.new_ones(net.width).expand_as(h),
    "layer_norm of an attribute": lambda net, h: F.layer_norm(h, (net.width,), *net.own),
    "rms_norm of an attribute": lambda net, h: F.rms_norm(h, [net.width], *net.own),
}


@pytest.mark.parametrize("name", CHECKS)
def test_an_attribute_that_is_compared_or_built_from_follows(name):
    own = {"layer_norm of an attribute": 2, "rms_norm of an attribute": 1}.get(name, 0)
    model, x = network((lambda: Checked(CHECKS[name], own), tokens))
    result = prune(model, x, 0.5)
    assert (result.model.up.out_features, result.model.mid.out_features) == (8, 4)
    assert result.attempts == ()
    if "norm of" not in name:  # whose statistic loses what is cut
        assert difference(zeroed_reads(model, result.graph, result.plan), result.model, x) < 1e-12


@pytest.mark.parametrize(
    "between",
    [
        lambda net, h: h * torch.arange(net.width, dtype=h.dtype),
        lambda net, h: h + torch.linspace(0, 1, net.width, dtype=h.dtype),
        lambda net, h: h @ torch.eye(net.width, dtype=h.dtype),
    ],
)
def test_a_tensor_of_unlike_values_is_of_positions_so_its_channels_stay(between):
    model, x = network((lambda: Checked(between), tokens))
    result = prune(model, x, 0.5)
    assert (result.model.up.out_features, result.model.mid.out_features) == (16, 4)
    (frozen,) = [f for f in result.graph.frozen if f.tensor == "up.weight"]
    assert "in the network meets" in frozen.reason
    assert result.proof.relative_error < 1e-12


class Stepped(nn.Module):
    """A recurrent cell whose first state is made in the forward."""

    def __init__(self, kind, first):
        super().__init__()
        self.h, self.first = 12, first
        self.up, self.cell, self.head = nn.Linear(7, 8), kind(8, 12), nn.Linear(12, 5)

    def forward(self, x):
        x, state = self.up(x), None
        if self.first is not None:
            state = self.first(self, x)
            state = (state, state) if isinstance(self.cell, nn.LSTMCell) else state
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.head(state[0] if isinstance(state, tuple) else state)


FIRST = {
    "new_zeros": lambda net, x: x.new_zeros(x.size(0), net.h),
    "zeros": lambda net, x: torch.zeros(len(x), net.h, dtype=x.dtype),
    "new_zeros of a weight's size": lambda net, x: x.new_zeros(len(x), net.cell.weight_hh.shape[1]),
    "zeros of a weight's size": lambda net, x: torch.zeros(len(x), net.head.weight.size(1), dtype=x.dtype),
    "ones of the cell's": lambda net, x: x.new_ones(x.size(0), net.cell.hidden_size),
    "the cell's own": None,
}


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
@pytest.mark.parametrize("first", FIRST)
def test_a_cell_loses_states_and_its_first_one_follows(kind, first):
    model, x = network((lambda: Stepped(kind, FIRST[first]), tokens))
    result = prune(model, x, 0.5)
    small = result.model
    assert (small.cell.input_size, small.cell.hidden_size, small.head.in_features) == (4, 6, 6)
    assert small.cell.weight_hh.shape == ({nn.LSTMCell: 4, nn.GRUCell: 3, nn.RNNCell: 1}[kind] * 6, 6)
    assert result.proof.relative_error < 1e-12
    assert difference(zeroed_reads(model, result.graph, result.plan), small, x) < 1e-12


def test_a_first_state_of_a_written_size_is_refused_by_name():
    model, x = network((lambda: Stepped(nn.GRUCell, lambda _, x: x.new_zeros(len(x), 12)), tokens))
    result = prune(model, x, 0.5)
    assert (result.model.up.out_features, result.model.cell.hidden_size) == (4, 12)
    assert {"cell.weight_ih", "cell.weight_hh"} <= {f.tensor for f in result.graph.frozen}
    assert all("meets" in f.reason for f in result.graph.frozen if f.tensor.startswith("cell"))


class Translator(nn.Module):
    """nn.Transformer between Linear layers, as its tutorial has it."""

    def __init__(self):
        super().__init__()
        self.source, self.target, self.head = nn.Linear(7, 16), nn.Linear(7, 16), nn.Linear(16, 5)
        self.transformer = nn.Transformer(16, 2, 1, 1, 32, 0.0, batch_first=True)

    def forward(self, x):
        return self.head(self.transformer(self.source(x), self.target(x[:, 1:])))


def test_a_transformer_between_two_linear_layers_loses_half_of_everything():
    model, x = network((Translator, tokens))
    result = prune(model, x, 0.5)
    small = result.model
    assert (small.source.out_features, small.transformer.d_model) == (8, 8)
    for layer in (small.transformer.encoder.layers[0], small.transformer.decoder.layers[0]):
        assert (layer.self_attn.embed_dim, layer.self_attn.head_dim, layer.linear1.out_features) == (8, 4, 16)
    assert result.attempts == ()
    assert result.proof.relative_error < 1e-12


def test_a_size_that_an_attribute_and_a_literal_both_give_is_put_back():
    model, x = network((lambda: Checked(lambda net, h: h.reshape(-1, 16).reshape(2, -1, net.width)), tokens))
    result = prune(model, x, 0.5)
    assert (result.model.up.out_features, result.model.mid.out_features) == (16, 4)
    assert any("sizes written into the forward" in f.reason for f in result.graph.frozen)


class Held(nn.Module):
    """A tensor that belongs to no state: pruning cannot cut what it does not own."""

    def __init__(self, hold, use):
        super().__init__()
        self.up, self.mid, self.head, self.use = nn.Linear(7, 16), nn.Linear(16, 8), nn.Linear(8, 5), use
        hold(self, torch.linspace(0, 1, 16, dtype=torch.float64))

    def forward(self, x):
        return self.head(F.relu(self.mid(self.use(self, F.relu(self.up(x))))))


HELD = {
    "alone": (lambda net, t: setattr(net, "place", t), lambda net, h: h + net.place),
    "in a list": (lambda net, t: setattr(net, "place", [t]), lambda net, h: h + net.place[0]),
    "a view": (lambda net, t: setattr(net, "place", t), lambda net, h: h * net.place.view(1, 1, -1)),
    "of a layer": (lambda net, t: setattr(net.up, "place", t), lambda net, h: h - net.up.place[None]),
}


@pytest.mark.parametrize("name", HELD)
def test_a_tensor_that_is_a_plain_attribute_is_named_with_the_way_out(name):
    model, x = network((lambda: Held(*HELD[name]), tokens))
    result = prune(model, x, 0.5)
    assert (result.model.up.out_features, result.model.mid.out_features) == (16, 4)
    (frozen,) = [f for f in result.graph.frozen if f.tensor == "up.weight"]
    place = "up.place" if name == "of a layer" else "place"
    assert (
        f"of {place}, a plain attribute (as a buffer, by register_buffer, it would follow)" in frozen.reason
    )


def test_one_number_as_a_plain_attribute_hinders_nothing():
    model, x = network((lambda: Held(lambda net, t: setattr(net, "place", t[3]), HELD["alone"][1]), tokens))
    result = prune(model, x, 0.5)
    assert (result.model.up.out_features, result.model.mid.out_features) == (8, 4)
    assert difference(zeroed_reads(model, result.graph, result.plan), result.model, x) < 1e-12


def test_the_same_tensor_as_a_buffer_follows():
    model, x = network(
        (lambda: Held(lambda net, t: net.register_buffer("place", t), HELD["alone"][1]), tokens)
    )
    result = prune(model, x, 0.5)
    assert result.model.place.shape == (8,)
    assert difference(zeroed_reads(model, result.graph, result.plan), result.model, x) < 1e-12
