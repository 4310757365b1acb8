"""The short way through a first Linear gives what the long one does, or is not taken."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from isoprune.isometry import jacobian_singular_values
from isoprune.isometry.exact import through_first_linear
from isoprune.isometry.function import sample_function
from isoprune.isometry.path import Path
from isoprune.isometry.products import pull_back
from reference import jsv_by_loops


class Via(nn.Module):
    def __init__(self, function, inputs=12, hidden=5, outputs=4):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.function = function

    def forward(self, x):
        return self.function(self, x).softmax(-1)  # else all of it would be a chain


def make(function, shape=(12,), **sizes):
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        return Via(function, **sizes).double().eval(), torch.randn(3, *shape, dtype=torch.float64)


class Outside(torch.autograd.Function):
    @staticmethod
    def forward(_ctx, x):
        return x.sum(1, keepdim=True)

    @staticmethod
    def backward(_ctx, g):
        return g.expand(-1, 12)


TAKEN = {
    "plain": lambda net, x: net.last(torch.tanh(net.first(x))),
    "flattened": lambda net, x: net.last(net.first(x.flatten(1))),
    "viewed": lambda net, x: net.last(net.first(x.view(x.size(0), -1)).relu()),
    "reshaped": lambda net, x: net.last(net.first(torch.reshape(x, (x.shape[0], 12)))),
    "functional": lambda net, x: F.linear(F.linear(x.flatten(1), net.first.weight), net.last.weight),
}
LEFT = {
    "used twice": lambda net, x: net.last(net.first(x)) + x.sum(1, keepdim=True),
    "twice the layer": lambda net, x: net.last(net.first(x)) * net.first(x).sum(1, keepdim=True),
    "scaled": lambda net, x: net.last(net.first(2 * x)),
    "in a list": lambda net, x: net.last(net.first(x)) + torch.cat([x, x], 1)[:, :4],
    "outside torch": lambda net, x: net.last(net.first(x)) + Outside.apply(x),
    "in place": lambda net, x: net.last(net.first(x.clone().mul_(x))),
}


def taken(model, x):
    """Tell whether the short way is taken, the first sample's agreement included."""
    path = Path()
    with sample_function(model, x, path=path) as f:
        short = through_first_linear(f, path, room=2**40)
        if short is None:
            return False
        one = f.rows(0, 1)
        h = short.inner.leaf(one)
        y = short.inner(h, one)
        J = pull_back(y, h, torch.eye(f.outputs, dtype=y.dtype)[:, None])[:, 0]
        return short.agrees(J)


@pytest.mark.parametrize("name", [*TAKEN, *LEFT])
def test_values_are_those_of_the_loops_either_way(name):
    model, x = make({**TAKEN, **LEFT}[name])
    torch.testing.assert_close(
        jacobian_singular_values(model, x), jsv_by_loops(model, x), rtol=1e-10, atol=1e-12
    )
    assert taken(model, x) == (name in TAKEN)


def test_images_and_ranks_below_the_outputs():
    model, x = make(TAKEN["flattened"], shape=(3, 2, 2), hidden=3, outputs=6)
    sigma = jacobian_singular_values(model, x)
    assert taken(model, x)
    assert sigma.shape == (3, 6)
    assert torch.equal(sigma[:, 3:], torch.zeros(3, 3).double())
    torch.testing.assert_close(sigma, jsv_by_loops(model, x), rtol=1e-10, atol=1e-12)


def test_narrow_inputs_and_sequences_go_the_long_way():
    assert not taken(*make(TAKEN["plain"], hidden=12))
    model, x = make(lambda net, x: net.last(net.first(x)).flatten(1), shape=(2, 12))
    assert not taken(model, x)
    torch.testing.assert_close(
        jacobian_singular_values(model, x), jsv_by_loops(model, x), rtol=1e-10, atol=1e-12
    )
