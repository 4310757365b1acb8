"""Balance: the same function, equal traces, the least sum of them."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from repair_networks import data, run
from torch import Generator, nn

from isoprune.methods.repairs.balance import balance


def images(n=12):
    return torch.randn(n, 1, 8, 8, dtype=torch.float64, generator=Generator().manual_seed(1))


def uneven(net):
    with torch.random.fork_rng():
        torch.random.manual_seed(3)
        for i, p in enumerate(net.parameters()):
            p.data = torch.randn_like(p.data) * (0.5 + i)
    return net.double().eval()


def lenet():
    return uneven(
        nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, bias=False), nn.ReLU(),
            nn.Flatten(), nn.Linear(6, 8), nn.LeakyReLU(0.1), nn.Linear(8, 3),
        )
    )  # fmt: skip


def call(net, x):
    return run(balance, net, batches=data(x))


def traces(net, x, layers):
    """Slow reference: one backward per sample and output."""
    total = [0.0] * len(layers)
    for one in x:
        y = net(one[None])[0]
        for c in range(len(y)):
            grads = torch.autograd.grad(y[c], [layer.weight for layer in layers], retain_graph=True)
            total = [t + float(g.square().sum()) / len(x) for t, g in zip(total, grads, strict=True)]
    return total


def weighted(net):
    return [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]


def test_computes_the_same_with_equal_traces_whose_sum_is_least():
    x, net = images(), lenet()
    new = call(net, x)
    with torch.no_grad():
        torch.testing.assert_close(new(x), net(x), rtol=1e-10, atol=1e-10)
    before, after = traces(net, x, weighted(net)), traces(new, x, weighted(new))
    torch.testing.assert_close(after, [after[0]] * len(after), rtol=1e-8, atol=0)
    assert math.prod(after) == pytest.approx(math.prod(before), rel=1e-8)  # the product is invariant
    assert sum(after) < sum(before)
    again = call(new, x)
    for a, b in zip(new.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


class Forked(nn.Module):
    """The first layer's output goes two ways; the last two layers are a chain, if the middle lets them."""

    def __init__(self, middle):
        super().__init__()
        self.first, self.second, self.third, self.last = (nn.Linear(5, 5) for _ in range(4))
        self.middle = middle

    def forward(self, x):
        x = self.first(x)
        x = x + self.second(torch.relu(x))
        return self.last(self.middle(self.third(x)))


@pytest.mark.parametrize(
    ("middle", "chained"), [(nn.ReLU(), True), (nn.Tanh(), False), (nn.BatchNorm1d(5), False)]
)
def test_only_chains_are_rescaled(middle, chained):
    x = torch.randn(9, 5, dtype=torch.float64, generator=Generator().manual_seed(1))
    net = uneven(Forked(middle))
    new = call(net, x)
    with torch.no_grad():
        torch.testing.assert_close(new(x), net(x), rtol=1e-10, atol=1e-10)
    changed = [
        not torch.equal(getattr(net, n).weight, getattr(new, n).weight)
        for n in ("first", "second", "third", "last")
    ]
    assert changed == [False, False, chained, chained]


def test_a_dead_layer_leaves_the_chain_as_it_is_and_no_gradient_is_left():
    x, net = images(), lenet()
    net[3].weight.data.zero_()
    new = call(net, x)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), new.parameters(), strict=True))
    frozen = copy.deepcopy(lenet())
    frozen[0].weight.requires_grad_(False)
    new = call(frozen, x)
    assert not new[0].weight.requires_grad
    assert all(p.grad is None for p in (*frozen.parameters(), *new.parameters()))
