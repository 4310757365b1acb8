"""JSV and gains of layers: closed forms of linear chains, and the slow oracle."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from methods.measures.cases import chain, data, draw, drawn, found, mlp, number, refusal, with_dense
from reference import jsv_by_loops


def orthogonal(size, seed):
    return torch.linalg.qr(draw(size, size, seed=seed))[0]


def test_an_orthogonal_chain_is_isometric():
    x = draw(4, 6)
    got = found(chain(*(orthogonal(6, seed) for seed in range(3))), "jsv", (x,))
    assert got == pytest.approx(dict.fromkeys(got, 0), abs=1e-9)
    scaled = found(chain(10 * orthogonal(6, 1), 10 * orthogonal(6, 2)), "jsv", (x,))
    assert scaled == pytest.approx(
        {
            "log_jsv_mean": 2,
            "log_jsv_max": 2,
            "log_jsv_typical": 2,
            "log_jsv_spread": 0,
            "log_jsv_condition": 0,
            "jsv_distance": 99**2,
        },
        abs=1e-9,
    )


def test_a_diagonal_map_has_its_entries():
    logs = torch.tensor([-1.0, 0.0, 0.5, 2.0], dtype=torch.float64)
    got = found(chain(torch.diag(10**logs)), "jsv", (draw(3, 4),))
    assert got["log_jsv_typical"] == pytest.approx(float(logs.mean()))
    assert got["log_jsv_spread"] == pytest.approx(float(logs.std(correction=0)))
    assert got["log_jsv_condition"] == pytest.approx(3)
    assert got["log_jsv_max"] == pytest.approx(2)
    assert got["log_jsv_mean"] == pytest.approx(math.log10(float((10**logs).mean())))


def test_numbers_are_those_of_the_singular_values_by_loops():
    net, (x, y) = mlp(), data()
    sigma = jsv_by_loops(net, x)
    got = found(net, "jsv", (x[:7], y[:7]), (x[7:], y[7:]))
    assert got["log_jsv_mean"] == pytest.approx(float(sigma.mean().log10()))
    assert got["jsv_distance"] == pytest.approx(float((sigma - 1).square().mean()))
    assert got["log_jsv_condition"] == pytest.approx(float((sigma[:, 0] / sigma[:, -1]).log10().mean()))
    assert got["log_jsv_typical"] == pytest.approx(float(sigma.log10().mean()))


def test_relative_to_the_dense_network():
    net, weak = (
        chain(draw(6, 5, seed=1), draw(3, 6, seed=2)),
        chain(draw(6, 5, seed=1), draw(3, 6, seed=2) / 100),
    )
    assert number(with_dense(net, net), "jsv_relative", data()) == 0
    assert number(with_dense(weak, net), "jsv_relative", data()) == pytest.approx(-2)
    assert number(with_dense(net, weak), "jsv_relative", data()) == pytest.approx(2)


def test_a_network_that_passes_nothing_on_has_no_logarithm():
    dead, net = chain(draw(6, 5), torch.zeros(3, 6)), chain(draw(6, 5), draw(3, 6))
    got = found(dead, "jsv", data())
    assert got["log_jsv_mean"] is got["log_jsv_max"] is None
    assert got["jsv_distance"] == 1
    assert number(with_dense(dead, net), "jsv_relative", data()) is None
    assert "these are all zero" in refusal(with_dense(net, dead), "jsv_relative", data())


def test_gains_of_a_chain_multiply_to_its_root_mean_square():
    net, (x, y) = mlp(), data()
    got = found(net, "gains", (x, y))
    rms = jsv_by_loops(net, x).square().mean().sqrt()
    assert got["log_gain_product"] == pytest.approx(math.log10(float(rms)))


def test_the_worst_layer_is_found():
    got = found(chain(2 * orthogonal(5, 1), orthogonal(5, 2) / 1000, 10 * orthogonal(5, 3)), "gains", data())
    assert got == pytest.approx({"log_gain_worst": -3, "log_gain_product": math.log10(0.02)})
    dead = found(drawn(nn.Linear(5, 4), nn.Threshold(1e9, 0.0), nn.Linear(4, 3)), "gains", data())
    assert dead == {"log_gain_worst": None, "log_gain_product": None}
    assert "needs a network of several modules" in refusal(nn.Linear(5, 3).double().eval(), "gains", data())
