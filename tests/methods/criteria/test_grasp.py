"""GraSP against finite differences of the gradient's norm."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from graph.small_networks import network
from isoprune.graph import trace
from isoprune.methods.criteria import scores_of
from isoprune.pruning.grains import units_of
from isoprune.signals import Signals
from isoprune.types import IsopruneError

T = 3.0


def gradients(model, x, temperature=T):
    loss = F.cross_entropy(model(x) / temperature, torch.arange(len(x)) % 5)
    return torch.autograd.grad(loss, list(model.parameters()))


def scored(model, units, x, **options):
    data = [
        (x[:1], torch.tensor([0])),
        (x[1:], torch.arange(1, len(x)) % 5),
    ]  # H g over all, not batch by batch
    return scores_of("grasp", Signals(model, data), units, generator=torch.Generator(), **options)


@pytest.mark.parametrize("net", ["mlp", "flattened"])
def test_its_hessian_product_is_a_difference_of_gradients_along_the_gradient(net):
    model, x = network(net)
    step, g = 1e-5, gradients(model, x)
    ends = []
    for sign in (1, -1):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for p, d in zip(moved.parameters(), g, strict=True):
                p.add_(sign * step * d)
        ends.append(gradients(moved, x))
    names = [name for name, _ in model.named_parameters()]
    bent = {n: (a - b) / (2 * step) for n, a, b in zip(names, *ends, strict=True)}
    units = units_of(trace(model, x), "weight")
    got = scored(model, units, x, temperature=T)
    for u in units:
        want = model.get_parameter(u.name).detach() * bent[u.name]
        torch.testing.assert_close(got[u.name], want, rtol=1e-4, atol=1e-10)


@pytest.mark.parametrize("grain", ["filter", "kernel", "weight"])
def test_it_is_half_of_what_the_squared_norm_loses_as_a_unit_begins_to_fade(grain):
    model, x = network("mlp")
    (units,) = (u for u in units_of(trace(model, x), grain) if u.name == "2.weight")
    got = scored(model, [units], x, temperature=T)["2.weight"].flatten()
    W, step = model[2].weight.detach().clone(), 1e-5
    member = units.members[0]
    unit = torch.arange(W.numel()).reshape(W.shape) if member.unit is None else member.unit.expand(W.shape)
    for i in range(0, units.size, 7):
        norms = []
        for sign in (1, -1):
            moved = copy.deepcopy(model)
            with torch.no_grad():
                moved[2].weight.copy_(W * (1 + sign * step * (unit == i).double()))
            norms.append(sum(g.square().sum() for g in gradients(moved, x)))
        fade = -(norms[0] - norms[1]) / (2 * step)  # of the squared norm, as the gate goes down
        assert float(got[i]) == pytest.approx(-float(fade) / 2, rel=1e-4, abs=1e-10)


def test_the_temperature_is_200_and_must_be_above_zero():
    model, x = network("mlp")
    units = units_of(trace(model, x), "weight")
    one, two = scored(model, units, x), scored(model, units, x, temperature=200.0)
    assert all(torch.equal(one[k], two[k]) for k in one)
    with pytest.raises(IsopruneError, match="temperature is 0, not a number above 0"):
        scored(model, units, x, temperature=0)
