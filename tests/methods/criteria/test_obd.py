"""OBD where it is exact: a quadratic loss at its minimum, and the Hessian of a linear network."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from graph.small_networks import network
from isoprune.graph import trace
from isoprune.methods.criteria import scores_of
from isoprune.pruning.grains import units_of
from isoprune.signals import Signals
from isoprune.types import IsopruneError
from isoprune.types.task import Task
from methods.criteria.test_values import places, scored


def test_it_is_the_rise_of_a_quadratic_loss_at_its_minimum_without_a_weight():
    generator = torch.Generator().manual_seed(0)
    X, Y = (torch.randn(30, n, dtype=torch.float64, generator=generator) for n in (4, 3))
    model = nn.Sequential(nn.Linear(4, 3, bias=False)).double()
    task = Task(loss=lambda outputs, batch: F.mse_loss(outputs, batch[1]))
    with torch.no_grad():
        model[0].weight.copy_(torch.linalg.lstsq(X, Y).solution.T)
    (units,) = units_of(trace(model, X), "weight")
    got = scores_of("obd", Signals(model, [(X, Y)], task), [units], generator=generator)["0.weight"]
    W, best = model[0].weight.detach(), F.mse_loss(model(X), Y)
    for i in range(W.numel()):
        without = W.clone()
        without.view(-1)[i] = 0
        rise = F.mse_loss(X @ without.T, Y) - best
        assert float(got.view(-1)[i]) == pytest.approx(float(rise.detach()), rel=1e-9)


@pytest.mark.parametrize("grain", ["channel", "filter", "kernel", "weight", "2x3"])
def test_of_an_output_layer_the_diagonal_is_the_hessian_s(grain):
    """The loss is convex in the last layer, whose Gauss-Newton matrix is its Hessian."""
    model, x = network("mlp")
    W = model[4].weight.detach()

    def loss(last):
        return F.cross_entropy(model[:4](x) @ last.T + model[4].bias, torch.arange(len(x)) % 5)

    H = torch.autograd.functional.hessian(loss, W).reshape(W.numel(), -1).diagonal().reshape(W.shape)
    every = scored("obd", model, units_of(trace(model, x), "weight"), x)["4.weight"]
    torch.testing.assert_close(every, H * W.square() / 2)
    if grain != "channel":
        (units,) = (u for u in units_of(trace(model, x), grain) if u.name == "4.weight")
        want = torch.stack([every[own].sum() for own in places(units, W.shape)])
        torch.testing.assert_close(scored("obd", model, [units], x)["4.weight"].flatten(), want)


def test_too_many_outputs_and_no_draws_are_refused():
    model, x = network("mlp")
    units = units_of(trace(model, x), "weight")
    data = Signals(model, [(x, torch.zeros(len(x), dtype=torch.long))])
    with pytest.raises(IsopruneError, match=r"draws is 0\. Give 1 or more"):
        scores_of("obd", data, units, generator=torch.Generator(), draws=0)
    wide = nn.Sequential(nn.Linear(7, 4097)).double()
    with pytest.raises(IsopruneError, match="One sample has 4,097 outputs"):
        Signals(wide, data.batches).gauss_newton_diagonal(1, torch.Generator())


@pytest.mark.parametrize("size", [pytest.param(1e-3, marks=pytest.mark.matrix), 70.0])
def test_of_a_thousand_outputs_that_are_sure_or_all_alike_it_is_found_in_float32_too(size):
    torch.manual_seed(0)
    x, y = torch.randn(8, 4), torch.arange(8) * 100
    model = nn.Sequential(nn.Linear(4, 1000))
    with torch.no_grad():
        model[0].weight.normal_(0, size / 2)
    found = [
        Signals(net, [(inputs, y)]).gauss_newton_diagonal(2, torch.Generator().manual_seed(0))
        for net, inputs in ((model, x), (copy.deepcopy(model).double(), x.double()))
    ]
    p = torch.softmax(model(x).detach().double(), 1)
    mean = ((p - p.square())[:, :, None] * x.double().square()[:, None]).mean(0)  # of all draws
    for each in found:
        assert bool(each["0.weight"].isfinite().all())
        assert 0 < float(each["0.weight"].sum()) < 1e3 * float(mean.sum())
