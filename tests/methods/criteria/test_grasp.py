"""GraSP against finite differences of the gradient's norm."""

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


@pytest.mark.parametrize(("net", "statistics"), [("mlp", "batch"), ("flattened", "network")])
def test_its_hessian_product_is_a_difference_of_gradients_along_the_gradient(net, statistics):
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
    got = scored(model, units, x, temperature=T, statistics=statistics)
    for u in units:
        want = model.get_parameter(u.name).detach() * bent[u.name]
        torch.testing.assert_close(got[u.name], want, rtol=1e-4, atol=1e-10)


def before_batchnorm():
    """Return a convolution, a BatchNorm and a ReLU, twice, in float64, with inputs and labels."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6, eps=1e-12), nn.ReLU(),
            nn.Conv2d(6, 4, 3, bias=False), nn.BatchNorm2d(4, eps=1e-12), nn.ReLU(),
            nn.Flatten(), nn.Linear(16, 5),
        )  # fmt: skip
        return model.double().eval(), torch.randn(12, 3, 6, 6, dtype=torch.float64)


def in_train_mode(model, x):
    """Return the gradient of the mean loss of two batches, in train mode."""
    batches = [(x[:5], torch.arange(5)), (x[5:], torch.arange(5, 12) % 5)]
    trained = copy.deepcopy(model).train()
    losses = [F.cross_entropy(trained(a) / T, b) * len(b) for a, b in batches]
    g = torch.autograd.grad(torch.stack(losses).sum() / len(x), list(trained.parameters()))
    return dict(zip([n for n, _ in model.named_parameters()], g, strict=True)), batches


def test_by_the_statistics_of_the_batch_it_is_that_of_train_mode():
    model, x = before_batchnorm()
    g, batches = in_train_mode(model, x)
    step, ends = 1e-5, []
    for sign in (1, -1):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for name, p in moved.named_parameters():
                p.add_(sign * step * g[name])
        ends.append(in_train_mode(moved, x)[0])
    units = units_of(trace(model, x), "weight")
    before = copy.deepcopy(model.state_dict())
    got = scores_of("grasp", Signals(model, batches), units, generator=torch.Generator(), temperature=T)
    for u in units:
        want = model.get_parameter(u.name).detach() * (ends[0][u.name] - ends[1][u.name]) / (2 * step)
        torch.testing.assert_close(got[u.name], want, rtol=1e-4, atol=1e-10)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_over_a_filter_before_a_batchnorm_the_scores_add_up_to_minus_its_squared_gradient():
    model, x = before_batchnorm()
    g, batches = in_train_mode(model, x)
    units = units_of(trace(model, x), "filter")
    got = scores_of("grasp", Signals(model, batches), units, generator=torch.Generator(), temperature=T)
    for name in ("0.weight", "3.weight"):  # the loss does not depend on their size: H w_f = -g_f
        torch.testing.assert_close(got[name], -g[name].square().flatten(1).sum(1))


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


def test_statistics_are_the_batch_s_or_the_network_s_and_one_sample_has_none():
    model, x = network("mlp")
    units = units_of(trace(model, x), "weight")
    with pytest.raises(IsopruneError, match=r"Unknown statistics 'data'\. Known: batch, network"):
        scored(model, units, x, statistics="data")
    normed = nn.Sequential(nn.Linear(7, 4), nn.BatchNorm1d(4), nn.Linear(4, 5)).double().eval()
    x = torch.randn(6, 7, dtype=torch.float64)
    units = units_of(trace(normed, x), "weight")
    with pytest.raises(IsopruneError, match="A batch of one sample has no variance for BatchNorm"):
        scored(normed, units, x)
    assert scored(normed, units, x, statistics="network")
