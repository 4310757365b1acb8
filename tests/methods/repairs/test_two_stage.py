"""Two-stage reconstruction: each layer solves its least squares on what calibrated ones before it make."""

from __future__ import annotations

import pytest
import torch
from repair_networks import Summed, inputs, perceptron, seeded
from torch import nn

import isoprune


def normed():
    net = nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 6, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(54, 3),
    )  # fmt: skip
    for norm in (net[1], net[4]):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return net


NETWORKS = {
    "mlp": (perceptron, (80, 6)),
    "normed": (normed, (60, 2, 4, 4)),
    "summed": (Summed, (60, 2, 4, 4)),
}
every_network = pytest.mark.parametrize("net", NETWORKS)


def pruned(net, ratio=0.5, **how):
    make, shape = NETWORKS[net]
    model, x = seeded(make), inputs(*shape)
    return isoprune.prune(model, x[:2], ratio, **how), x


def repaired(small, x, method="two_stage", **options):
    return isoprune.repair(small, method, batches=[(x, torch.zeros(len(x)))], samples=len(x), **options).model


def fitted(X, Y, W1, strength):
    """Return weights and bias of the pulled least squares by its normal equations, a constant one of them."""
    mean = float((X - X.mean(0)).square().mean())
    ones = torch.ones(len(X), 1, dtype=X.dtype)
    Z = torch.cat([X, ones], 1)
    pull = strength * mean * torch.eye(Z.shape[1], dtype=X.dtype)
    pull[-1, -1] = 0
    start = torch.cat([W1, torch.zeros(len(W1), 1, dtype=X.dtype)], 1)
    found = torch.linalg.solve(Z.mT @ Z / len(X) + pull, (Y.mT @ Z / len(X) + start @ pull).mT).mT
    return found[:, :-1], found[:, -1]


@torch.no_grad()
@pytest.mark.parametrize("strength", [1e-3, 0.1])
def test_each_layer_solves_its_least_squares_on_what_those_before_it_make(strength):
    small, x = pruned("mlp")
    new = repaired(small, x, strength=strength)
    first = repaired(small, x, "grail", strength=strength)
    kept = [small.plan.kept[name] for name in ("0", "2")]
    h, want = x, x
    for i, rows in ((0, kept[0]), (2, kept[1]), (4, slice(None))):
        made = small.dense[i](want)
        W, b = fitted(h, made[:, rows], first[i].weight, strength)
        torch.testing.assert_close(new[i].weight, W)
        torch.testing.assert_close(new[i].bias, b)
        h, want = torch.relu(h @ W.mT + b), torch.relu(made)


@every_network
@torch.no_grad()
def test_each_stage_is_nearer_to_the_dense_network(net):
    small, x = pruned(net)
    if net == "normed":  # against statistics of what is there now
        small = isoprune.repair(small, "batchnorm", batches=[(x, torch.zeros(len(x)))])
    want = small.dense(x)
    off = [
        float((model(x) - want).norm())
        for model in (small.model, repaired(small, x, "grail"), repaired(small, x, strength=1e-5))
    ]
    assert off[2] < off[0]
    if net != "normed":
        assert off[2] < off[1]


@torch.no_grad()
def test_the_statistics_of_a_batchnorm_are_those_of_what_it_reads_then():
    small, x = pruned("normed")
    new = repaired(small, x)
    for i in (1, 4):
        read = new[:i](x).movedim(1, -1).flatten(0, -2)
        torch.testing.assert_close(new[i].running_mean, read.mean(0))
        torch.testing.assert_close(new[i].running_var, read.var(0, correction=0))


@torch.no_grad()
def test_where_channels_that_went_are_copies_of_others_nothing_is_lost():
    model, x = seeded(perceptron), inputs(80, 6)
    model[0].weight[6:], model[0].bias[6:] = model[0].weight[:6], model[0].bias[:6]

    def first(_signals, units, *, generator):
        return {u.name: -torch.arange(u.size).double() for u in units}

    small = isoprune.prune(model, x[:2], {"0": 0.5}, criterion=first)
    torch.testing.assert_close(repaired(small, x, strength=1e-9)(x), model(x), rtol=1e-5, atol=1e-5)


@every_network
def test_channels_masked_come_out_as_channels_that_went(net):
    held, x = pruned(net, mask=True)
    small, _ = pruned(net)
    # A pull that is hardly there: its unit, the mean eigenvalue, counts masked inputs.
    got, want = (repaired(s, x, strength=1e-10)(x) for s in (held, small))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


@every_network
def test_at_ratio_zero_nothing_changes(net):
    small, x = pruned(net, 0.0)
    states = zip(repaired(small, x).state_dict().values(), small.model.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in states)
