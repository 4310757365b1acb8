"""Gradient and Hessian: against the whole gradient and the whole matrix, by autograd, of tiny networks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

import isoprune
from isoprune.methods.measures.hessian import Hessian
from isoprune.signals import Signals
from isoprune.types import Task
from methods.measures.cases import data, draw, mlp, number, refusal


def loss_and_point(net, x, y):
    """Return the mean loss as a function of all trainable parameters as one vector, and where it stands."""
    named = {n: p.detach() for n, p in net.named_parameters() if p.requires_grad}

    def loss(theta):
        parts = theta.split([p.numel() for p in named.values()])
        state = {n: t.reshape(p.shape) for (n, p), t in zip(named.items(), parts, strict=True)}
        return cross_entropy(functional_call(net, state, (x,)), y)

    return loss, torch.cat([p.flatten() for p in named.values()])


def gradient_and_hessian(net, x, y):
    loss, theta = loss_and_point(net, x, y)
    return torch.func.grad(loss)(theta), torch.func.jacrev(torch.func.grad(loss))(theta)


def batches():
    x, y = data()
    return (x[:5], y[:5]), (x[5:], y[5:])


def masked():
    x, _ = data()
    net = mlp()
    return isoprune.prune(net, x, 0.5, grain="weight", mask=True)


@pytest.mark.parametrize("frozen", [False, True])
def test_gradient_and_curvature_are_those_of_the_definition(frozen):
    net = mlp()
    net[0].weight.requires_grad_(not frozen)
    g, H = gradient_and_hessian(net, *data())
    eigenvalues = torch.linalg.eigvalsh(H)
    assert number(net, "gradient_norm", *batches()) == pytest.approx(math.log10(g.norm()))
    got = number(net, "hessian_largest", *batches(), steps=60)
    assert got == pytest.approx(math.log10(eigenvalues.abs().max()), abs=1e-9)
    assert number(net, "hessian_largest", *batches()) == pytest.approx(got, abs=0.01)


def test_masked_weights_take_no_part():
    small, (x, y) = masked(), data()
    g, H = gradient_and_hessian(small.model, x, y)  # of the weights under the masks: rows of zeros
    assert int((g == 0).sum()) >= 20
    assert number(small, "gradient_norm", *batches()) == pytest.approx(math.log10(g.norm()))
    largest = torch.linalg.eigvalsh(H).abs().max()
    assert number(small, "hessian_largest", *batches(), steps=40) == pytest.approx(
        math.log10(largest), abs=1e-9
    )
    hessian = Hessian(Signals(small.model, list(batches())))
    assert hessian.size == len(g) - int((torch.cat([~m.flatten() for m in masks(small)])).sum())


def masks(small):
    return [m.kept for m in small.model.modules() if hasattr(m, "kept")]


def test_hutchinson_s_mean_is_the_trace_and_its_spread_what_the_formula_says():
    net, (x, y) = mlp(), data()
    H = gradient_and_hessian(net, x, y)[1]
    draws = 400
    got = 10 ** number(net, "hessian_trace", *batches(), draws=draws)
    off = float(2 * (H.square().sum() - H.diagonal().square().sum()) / draws) ** 0.5
    assert abs(got - float(H.trace())) < 4 * off
    one = torch.tensor(
        [10 ** (number(net, "hessian_trace", (x, y), draws=1, seed=s) or -9) for s in range(40)]
    )
    assert one.std() == pytest.approx(off * draws**0.5, rel=0.4)


def test_the_trace_of_a_diagonal_hessian_is_exact():
    net = nn.Linear(3, 1, bias=False).double().eval()
    x, task = torch.eye(3).double(), Task(loss=nn.MSELoss(), metrics={})
    y = draw(3, 1)
    assert number(net, "hessian_trace", (x, y), task=task, draws=1) == pytest.approx(math.log10(2))
    assert number(net, "hessian_largest", (x, y), task=task) == pytest.approx(math.log10(2 / 3))


def test_a_trace_below_zero_has_no_logarithm():
    net = nn.Linear(3, 1, bias=False).double().eval()
    task = Task(loss=lambda outputs, _: -outputs.square().mean(), metrics={})
    assert number(net, "hessian_trace", data(features=3), task=task) is None
    assert number(net, "hessian_largest", data(features=3), task=task) is not None


def test_where_the_gradient_is_zero_lanczos_starts_at_random():
    net = nn.Linear(3, 1, bias=False).double().eval()
    net.weight = nn.Parameter(torch.zeros(1, 3, dtype=torch.float64))
    x, task = draw(20, 3), Task(loss=nn.MSELoss(), metrics={})
    want = torch.linalg.eigvalsh(2 * x.mT @ x / 20)[-1]
    batch = (x, torch.zeros(20, 1, dtype=torch.float64))
    assert number(net, "gradient_norm", batch, task=task) is None
    assert number(net, "hessian_largest", batch, task=task) == pytest.approx(math.log10(want))


@pytest.mark.parametrize("name", ["gradient_norm", "hessian_largest", "hessian_trace"])
def test_a_network_without_trainable_weights_is_refused(name):
    assert "No weight can be trained" in refusal(mlp().requires_grad_(False), name, data())


def test_no_draw_is_refused():
    assert refusal(mlp(), "hessian_trace", data(), draws=0) == "draws = 0 of hessian_trace; give 1 or more."
