"""What layers read at sampled places, the sums they go into, and whose BatchNorm follows."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from isoprune.methods.layers.probe import Callbacks, Stop, made_at, places, read_at, sites, watch
from isoprune.methods.layers.weights import Weight

CONVOLUTIONS = [
    (nn.Conv2d(4, 6, 3), (4, 7, 8)),
    (nn.Conv2d(4, 6, 3, stride=2, padding=1), (4, 7, 8)),
    (nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(2, 0), dilation=(2, 1)), (4, 9, 8)),
    (nn.Conv2d(4, 8, 3, padding="same", groups=2), (4, 5, 5)),
    (nn.Conv2d(4, 4, 3, padding=1, groups=4, padding_mode="circular"), (4, 5, 6)),
    (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), (4, 5, 6)),
    (nn.Conv2d(4, 3, 1, stride=2), (4, 5, 6)),
    (nn.Conv1d(4, 6, 5, padding=2), (4, 9)),
    (nn.Conv3d(2, 3, 2, stride=2), (2, 4, 4, 5)),
    (nn.ConvTranspose2d(4, 6, 3), (4, 5, 4)),
    (nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1), (4, 3, 4)),
    (nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2), (4, 3, 4)),
    (nn.ConvTranspose2d(4, 4, (3, 2), stride=(3, 2), padding=(1, 0), output_padding=(2, 1)), (4, 3, 4)),
    (nn.ConvTranspose2d(4, 2, 2, stride=3, dilation=2, output_padding=1), (4, 3, 4)),  # passes places by
    (nn.ConvTranspose2d(4, 3, 1, stride=2, padding=1), (4, 4, 5)),  # the input's rim is cut off
    (nn.ConvTranspose2d(4, 4, 3, stride=2, groups=4), (4, 3, 4)),
    (nn.ConvTranspose1d(4, 6, 5, stride=2, dilation=2, padding=3), (4, 6)),
    (nn.ConvTranspose3d(4, 2, (3, 2, 1), stride=(1, 2, 1), groups=2), (4, 2, 3, 2)),
    (nn.Linear(4, 3), (4,)),
    (nn.Linear(4, 3), (5, 4)),
    (nn.Linear(4, 3), (2, 3, 4)),
]


@pytest.mark.parametrize(("layer", "shape"), CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("most", [3, 10**6])
def test_filters_times_what_is_read_is_what_is_made(layer, shape, most):
    layer = layer.double()
    x = torch.randn(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = layer(x)
        where = places(y, layer, most, torch.Generator().manual_seed(1))
        assert all(len(row.unique()) == where.shape[1] for row in where)
        read = read_at(x, layer, where)  # [samples, places, groups, fan_in]
        W = Weight("", layer, read.shape[2]).matrices
        got = torch.einsum("npgf,gof->npgo", read, W).flatten(2) + layer.bias
    torch.testing.assert_close(got, made_at(y, layer, where), rtol=1e-12, atol=1e-12)


def test_what_is_read_follows_an_output_size_given_in_the_call():
    layer = nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1).double()
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = layer(x, output_size=(8, 9))
        where = places(y, layer, 10**6, torch.Generator())
        read = read_at(x, layer, where, y)[:, :, 0]
        got = read @ Weight("", layer).matrices[0].mT + layer.bias
    assert where.shape[1] == 72  # 7 x 9 without that size
    torch.testing.assert_close(got, made_at(y, layer, where), rtol=1e-12, atol=1e-12)


class Block(nn.Module):
    """Two layers in a sum, with a choice of what lies between."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1, bias=False)
        self.bn, self.last = nn.BatchNorm2d(3), nn.Linear(3, 2)

    def forward(self, x):
        y = self.bn(self.second(F.relu(self.first(x))))
        match self.kind:
            case "sum":
                y = y + x
            case "in place":
                y += x
            case "method":
                y = x.add(y)
            case "relu before":
                y = F.relu(y, inplace=True) + x
            case "number":
                y = y + 1
            case "broadcast":
                y = y + x[:, :, :1, :1]
        return self.last(y.mean((2, 3)))


def layers(net):
    return {n: m for n, m in net.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}


@pytest.mark.parametrize(
    ("kind", "sums"),
    [("sum", True), ("in place", True), ("method", True)]
    + [(kind, False) for kind in ("relu before", "number", "broadcast", "none")],
)
def test_sites_know_the_order_the_norm_and_the_sum(kind, sums):
    net, x = Block(kind).eval(), torch.randn(2, 3, 4, 4)
    found = sites(net, x, layers(net))
    assert [s.name for s in found] == ["first", "second", "last"]
    assert [s.norm for s in found] == [None, "bn", None]
    assert [s.sum for s in found] == [False, sums, False]


@pytest.mark.parametrize("kind", ["sum", "in place", "method"])
def test_operand_and_sum_are_told_and_nothing_is_left_behind(kind):
    net, x = Block(kind).eval(), torch.randn(2, 3, 4, 4)
    told = {}
    probe = Callbacks(
        other=lambda name, run, t: told.update(other=(name, run, t.clone())),
        total=lambda name, run, t: told.update(total=(name, run, t.clone())),
    )
    watch(net, x, layers(net), probe)
    assert told["other"][:2] == told["total"][:2] == ("second", 0)
    with torch.no_grad():
        assert torch.equal(told["other"][2], x)
        torch.testing.assert_close(told["total"][2], net.bn(net.second(F.relu(net.first(x)))) + x)
    assert not any(m._forward_hooks for m in net.modules())


def test_a_layer_makes_up_only_for_what_was_there_before_it():
    """A stem whose output is carried past a block is not to blame for what the block adds to it."""

    class Carried(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.branch, self.shortcut = (nn.Conv2d(3, 3, 1) for _ in range(3))

        def forward(self, x):
            x = self.stem(x)
            x = x + F.relu(self.branch(x))
            return self.branch(x) + self.shortcut(x)

    net = Carried().eval()
    found = {s.name: s.sum for s in sites(net, torch.randn(2, 3, 4, 4), layers(net))}
    assert found == {"stem": False, "branch": False, "shortcut": True}


def test_a_layer_that_runs_twice_counts_its_runs_and_stop_ends_the_forward():
    shared = nn.Linear(3, 3)
    net = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(3, 2))
    runs = []

    def output(name, run, x, y):
        runs.append((name, run))
        if run == 1:
            raise Stop

    watch(net, torch.randn(2, 3), {"shared": shared, "end": net[3]}, Callbacks(output=output))
    assert runs == [("shared", 0), ("shared", 1)]
    assert not shared._forward_hooks
