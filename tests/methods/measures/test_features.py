"""Effective rank and the linear probe: closed forms, an explicit ridge, degenerate features."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot

from isoprune.methods.measures.effective_rank import rank_of
from isoprune.methods.measures.features import features, last_features
from isoprune.methods.measures.linear_probe import STRENGTHS, ridge_outputs
from isoprune.signals import Signals
from methods.measures.cases import chain, data, draw, drawn, found, mlp, number, refusal


def centred_orthogonal(rows, columns):
    """Return a matrix with orthonormal columns, each of mean zero."""
    X = draw(rows, columns)
    return torch.linalg.qr(X - X.mean(0))[0]


@pytest.mark.parametrize("d", [1, 3, 7])
def test_the_rank_of_an_orthogonal_design_is_its_dimension(d):
    X = centred_orthogonal(20, d)
    assert rank_of(X) == pytest.approx(d)
    assert rank_of(5 * X + 3) == pytest.approx(d)  # scale and mean do not count
    wide = torch.cat([X, torch.zeros(20, 30).double()], 1)  # nor features that are zero
    assert rank_of(wide) == pytest.approx(d)
    assert rank_of(X[:, :1] @ draw(1, 9)) == pytest.approx(1)


def test_the_rank_is_the_exponential_of_an_entropy():
    s = torch.tensor([4.0, 2.0, 1.0, 1.0]).double()
    p = s / 8
    assert rank_of(centred_orthogonal(15, 4) * s) == pytest.approx(float((-(p * p.log()).sum()).exp()))


def test_constant_features_have_rank_zero():
    assert rank_of(torch.zeros(6, 4).double()) == 0
    assert rank_of(torch.full((6, 4), 0.1).double()) == 0
    dead = found(chain(torch.zeros(6, 5), draw(3, 6)), "effective_rank", data())
    assert dead == {"effective_rank": 0, "effective_rank_mean": 0}


def test_the_last_layer_s_inputs_are_the_features():
    net, (x, y) = mlp(), data()
    got = found(net, "effective_rank", (x[:5], y[:5]), (x[5:], y[5:]))
    want = rank_of(net[:3](x).detach())
    assert got == pytest.approx({"effective_rank": want, "effective_rank_mean": want})


class Backwards(nn.Module):
    """Its layers run in another order than they stand in it, and one of them twice."""

    def __init__(self):
        super().__init__()
        self.last, self.twice, self.first = nn.Linear(4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(1, 4, 3)

    def forward(self, x):
        return self.last(self.twice(self.twice(self.first(x)).tanh()).mean((2, 3)))


def test_features_come_in_the_order_in_which_layers_run():
    net, x = Backwards().double().eval(), draw(6, 1, 5, 5)
    (got,) = features(Signals(net, [(x, torch.arange(6))]))
    assert list(got) == ["twice", "last"]
    again = net.twice(net.first(x)).tanh()
    torch.testing.assert_close(got["twice"], again.flatten(2).mT)
    torch.testing.assert_close(got["last"][:, 0], net.twice(again).mean((2, 3)))
    torch.testing.assert_close(last_features(Signals(net, [(x, x)])), got["last"][:, 0])


def test_a_network_without_hidden_layer_is_refused():
    for name in ("effective_rank", "linear_probe"):
        assert "has no hidden layer" in refusal(nn.Linear(5, 3).double().eval(), name, data())


def test_the_ridge_is_that_of_the_normal_equations_at_the_best_strength():
    X, y, U = draw(14, 4), torch.arange(14) % 3, draw(5, 4, seed=5)
    Y = one_hot(y).double()

    def fit(rows, strength):
        Xc, Yc = X - X.mean(0), Y - Y.mean(0)
        pull = strength * float(Xc.square().sum()) / 14
        A = Xc[rows].mT @ Xc[rows] + pull * torch.eye(4).double()
        return torch.linalg.solve(A, Xc[rows].mT @ Yc[rows])

    def left_out(strength):
        each = torch.arange(14)
        return sum(
            float((Y[i] - Y.mean(0) - (X[i] - X.mean(0)) @ fit(each[each != i], strength)).square().sum())
            for i in range(14)
        )

    best = min(STRENGTHS, key=left_out)
    want = (U - X.mean(0)) @ fit(torch.arange(14), best) + Y.mean(0)
    torch.testing.assert_close(ridge_outputs(X, y, U), want)


def test_classes_that_a_line_tells_apart_are_told_apart():
    y = torch.arange(60) % 3
    x = 5 * torch.eye(3).double()[y] @ draw(3, 5, seed=7) + 0.01 * draw(60, 5, seed=8)
    net = drawn(nn.Linear(5, 6), nn.Linear(6, 3))
    assert number(net, "linear_probe", (x[:25], y[:25]), (x[25:], y[25:])) == 1
    dead = chain(torch.zeros(6, 5), draw(3, 6))
    assert number(dead, "linear_probe", (x, y)) <= 0.5  # all are put into one class
    shuffled = y[torch.randperm(60, generator=torch.Generator().manual_seed(3))]
    assert number(net, "linear_probe", (x, shuffled)) < 0.7


def test_labels_of_one_class_are_refused():
    x, y = data()
    assert "are of one. Pass shuffled data" in refusal(mlp(), "linear_probe", (x, y * 0 + 2))
