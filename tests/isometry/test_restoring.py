"""A layer is blamed only for what comes back with it restored: by its units, its weights or its gain."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import isoprune
from isoprune.isometry import diagnose, jacobian_singular_values
from isoprune.pruning.whole_layer import with_whole_layer


class Gated(nn.Module):
    """Two convolutions, and a squeeze gate on the channels between them."""

    def __init__(self, width=12):
        super().__init__()
        self.a = nn.Conv2d(1, width, 3, padding=1)
        self.squeeze, self.relu, self.excite = nn.Linear(width, 3), nn.ReLU(), nn.Linear(3, width)
        self.b, self.head = nn.Conv2d(width, width, 3, padding=1), nn.Linear(width, 5)

    def forward(self, x):
        x = self.a(x).relu()
        gate = torch.sigmoid(self.excite(self.relu(self.squeeze(x.mean((2, 3))))))
        return self.head(self.b(x * gate[:, :, None, None]).relu().mean((2, 3)))


@pytest.fixture
def dense():
    torch.manual_seed(0)
    return Gated().double().eval()


@pytest.fixture
def x():
    return torch.randn(6, 1, 6, 6, generator=torch.Generator().manual_seed(1)).double()


def mean(network, x):
    return float(jacobian_singular_values(network, x).mean())


def rows(found):
    return {row["name"]: row for row in found.layers}


def test_a_dead_gate_is_not_blamed_for_what_another_layer_lost(dense, x):
    hurt = copy.deepcopy(dense)
    hurt.squeeze.weight.data.zero_()
    hurt.squeeze.bias.data.fill_(-1)  # its ReLU lets nothing through: the gate is dead
    hurt.b.weight.data *= 0.05
    found = diagnose(hurt, [(x, None)], dense)
    dead, guilty = rows(found)["squeeze"], rows(found)["b"]
    assert dead["share"] + rows(found)["relu"]["share"] > 0.9  # what it was blamed for
    cured = copy.deepcopy(hurt)
    cured.b = dense.b
    assert guilty["restored_mean"] == pytest.approx(mean(cured, x), rel=1e-9)
    assert guilty["comes_back"] == pytest.approx(1, abs=0.02)
    assert abs(dead["comes_back"]) < 0.02
    (blame,) = (s for s in found.sentences if s.startswith("To blame: "))
    assert blame.startswith("To blame: b passes")
    assert "squeeze" not in blame
    assert "100% of the loss comes back" in blame
    assert any(s.startswith("Not to blame: squeeze passes 0 instead of") for s in found.sentences)


def test_nobody_is_blamed_where_no_layer_alone_brings_it_back():
    net = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(3))).double().eval()
    dead = copy.deepcopy(net)
    dead[0].weight.data.zero_()
    dead[2].weight.data.zero_()
    x = torch.randn(3, 4, dtype=torch.float64)
    found = diagnose(dead, [(x, None)], net)
    assert not any(s.startswith("To blame") for s in found.sentences)
    assert any(
        s.startswith("No layer that was restored alone brings the loss back: ") for s in found.sentences
    )
    # A healthy network and one that passes too much lost nothing: nothing is tried.
    for factor in (1.0, 100.0):
        more = copy.deepcopy(net)
        more[1].weight.data *= factor
        assert not any("comes_back" in row for row in diagnose(more, [(x, None)], net).layers)


def test_gain_is_the_segment_of_the_chain_that_is_exchanged():
    """Of linear layers, J = W3 W2 W1: with W2 as long as it was, J is as much longer, whatever the shapes."""
    generator = torch.Generator().manual_seed(2)

    def chain(width):
        layers = [nn.Linear(5, width, bias=False), nn.Linear(width, 4, bias=False)]
        for layer in layers:
            layer.weight.data = torch.randn(layer.weight.shape, generator=generator)
        return nn.Sequential(*layers).double().eval()

    dense, small = chain(9), chain(3)
    small[1].weight.data *= 0.01
    x = torch.randn(3, 5, generator=generator).double()
    row = rows(diagnose(small, [(x, None)], dense))["1"]
    assert row["restored_by"] == "gain"
    longer = row["dense_backward_gain"] / row["backward_gain"]
    assert row["restored_mean"] == pytest.approx(longer * mean(small, x), rel=1e-9)
    # Without a dense network: as if it passed all.
    alone = rows(diagnose(small, [(x, None)]))["1"]
    assert alone["restored_mean"] == pytest.approx(mean(small, x) / alone["backward_gain"], rel=1e-9)


@pytest.mark.parametrize("how", [{}, {"mask": True}])
def test_spared_units_are_back_and_all_else_stays(dense, x, how):
    small = isoprune.prune(dense, x, ratio=0.5, **how)
    network, others = with_whole_layer(small, "b")
    want = isoprune.prune(dense, x, ratio={"*": 0.5, "b": 0}, **how)
    assert others == ()
    torch.testing.assert_close(network(x), want.model(x))
    coupled = with_whole_layer(small, "a")
    assert coupled is not None
    assert coupled[1] == ("excite",)
    assert with_whole_layer(small, "head") is None
    # Trained since: what stayed is as it is now, and the dense network's weights come beside it.
    with torch.no_grad():
        for parameter in small.model.head.parameters():
            parameter.mul_(2)
    again, _ = with_whole_layer(small, "squeeze")
    torch.testing.assert_close(again.head.bias, 2 * dense.head.bias)
    found = isoprune.diagnose(isoprune.prune(dense, x, ratio=0.8, **how), [(x, None)], repairs=())
    assert {row["restored_by"] for row in found.layers if "restored_by" in row} >= {"spared"}
    assert any("spared by pruning (with " in sentence for sentence in found.sentences)
