"""ASR against deviations measured by hand: exact at full reliability, by its formula where it shrinks."""

from __future__ import annotations

import pytest
import torch
from repair_networks import Summed, inputs, perceptron, seeded
from torch import nn

import isoprune
from isoprune.methods.repairs.batchnorm import reestimate_

NETWORKS = {"mlp": (perceptron, (40, 6)), "convolutions": (Summed, (20, 2, 5, 5))}
every_network = pytest.mark.parametrize("net", NETWORKS)


def pruned(net, ratio=0.5, **how):
    make, shape = NETWORKS[net]
    model, x = seeded(make), inputs(*shape)
    return isoprune.prune(model, x[:2], ratio, **how), x


def repaired(small, x, **options):
    return isoprune.repair(small, "asr", batches=[(x, torch.zeros(len(x)))], samples=len(x), **options).model


@torch.no_grad()
def deviations(model, x):
    """Return the standard deviation of every channel that a Linear or a convolution makes, by its name."""
    found, hooks = {}, []
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):

            def see(_module, _args, out, name=name):
                found[name] = out.movedim(1, -1).flatten(0, -2).std(0, correction=0)

            hooks.append(module.register_forward_hook(see))
    model(x)
    for hook in hooks:
        hook.remove()
    return found


def left(small, name, values):
    """Return the values of the channels of a layer that are left."""
    for units in small.graph.groups:
        for member in units.members:
            if member.tensor == f"{name}.bias" and units.name in small.plan.kept:
                return values[small.plan.kept[units.name][member.unit.flatten()]]
    return values


@every_network
def test_at_full_reliability_every_channel_varies_as_it_did_when_dense(net):
    small, x = pruned(net)
    want, now = deviations(small.dense, x), deviations(repaired(small, x, shrink=0.0), x)
    before = deviations(small.model, x)
    assert any(not torch.allclose(before[name], left(small, name, want[name])) for name in now)
    for name, have in now.items():
        torch.testing.assert_close(have, left(small, name, want[name]))


@torch.no_grad()
def test_each_filter_has_the_factor_of_its_formula_layer_after_layer():
    small, x = pruned("mlp")
    new, want = repaired(small, x, shrink=0.3), deviations(small.dense, x)
    h = x
    for i in (0, 2, 4):
        old = small.model[i]
        y = h @ old.weight.mT + old.bias
        sigma = y.std(0, correction=0)
        rho = sigma**2 / (sigma**2 + 0.3 * (sigma**2).mean())
        factor = 1 + rho * (left(small, str(i), want[str(i)]) / sigma - 1)
        torch.testing.assert_close(new[i].weight, factor[:, None] * old.weight)
        assert torch.equal(new[i].bias, old.bias)
        h = torch.relu(h @ new[i].weight.mT + new[i].bias)


@every_network
def test_the_weaker_a_channel_the_less_of_its_correction_is_made(net):
    small, x = pruned(net)
    full, some, none = (repaired(small, x, shrink=s) for s in (0.0, 1.0, 1e12))
    name = "stem" if net == "convolutions" else "2"
    weights = [m.get_submodule(name).weight for m in (small.model, full, some)]
    off = [(w - weights[0]).abs().max() for w in weights[1:]]
    assert off[1] <= off[0]
    for a, b in zip(none.parameters(), small.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def normed():
    net = nn.Sequential(
        nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 2), nn.BatchNorm2d(6), nn.Flatten()
    )
    for norm in (net[1], net[4]):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        norm.weight.data.uniform_(0.5, 2)
        norm.bias.data.normal_()
    return net


def test_before_a_batchnorm_full_reliability_is_its_statistics_taken_anew():
    model, x = seeded(normed), inputs(30, 2, 4, 4)
    small = isoprune.prune(model, x[:2], {"0": 0.5})
    new = repaired(small, x, shrink=0.0)
    want = isoprune.harden(small).model
    reestimate_(want[:2], [x])
    with torch.no_grad():
        inner = want[3](want[:3](x)).movedim(1, -1).flatten(0, -2)
    want[4].running_mean, want[4].running_var = inner.mean(0), inner.var(0)
    for key, value in want.state_dict().items():
        torch.testing.assert_close(new.state_dict()[key], value)


@torch.no_grad()
def test_a_batchnorm_keeps_what_the_shrinkage_leaves_of_the_deviation():
    model, x = seeded(normed), inputs(30, 2, 4, 4)
    small = isoprune.prune(model, x[:2], {"0": 0.5})
    new = repaired(small, x, shrink=0.2)
    y, dense = new[3](new[:3](x)), model[3](model[:3](x))
    sigma, want = (t.movedim(1, -1).flatten(0, -2).std(0, correction=0) for t in (y, dense))
    rho = sigma**2 / (sigma**2 + 0.2 * (sigma**2).mean())
    torch.testing.assert_close(new[4].weight, model[4].weight * (rho + (1 - rho) * sigma / want))
    assert torch.equal(new[3].weight, small.model[3].weight)
    made = new(x).reshape(30, 6, -1).movedim(1, -1).flatten(0, -2).std(0, correction=1)
    torch.testing.assert_close(made, new[4].weight * (sigma**2 / (sigma**2 + 1e-5)).sqrt(), rtol=1e-2, atol=0)


@every_network
def test_channels_masked_come_out_as_channels_that_went(net):
    held, x = pruned(net, mask=True)
    small, _ = pruned(net)
    torch.testing.assert_close(repaired(held, x)(x), repaired(small, x)(x))


@every_network
def test_at_ratio_zero_nothing_changes(net):
    small, x = pruned(net, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(
        repaired(small, x).state_dict().values(), small.model.state_dict().values(), strict=True
    ))  # fmt: skip


def test_a_layer_tied_to_an_embedding_stays_as_it_is():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.inner, self.out = nn.Embedding(9, 6), nn.Linear(6, 8), nn.Linear(8, 6)
            self.head = nn.Linear(6, 9, bias=False)
            self.head.weight = self.table.weight

        def forward(self, x):
            return self.head(self.out(torch.relu(self.inner(self.table(x)))).mean(1))

    model, x = seeded(Tied), torch.randint(9, (20, 5), generator=torch.Generator().manual_seed(0))
    small = isoprune.prune(model, x[:2], {"inner": 0.5})
    new = repaired(small, x)
    assert torch.equal(new.table.weight, model.table.weight)
    assert not torch.equal(new.out.weight, small.model.out.weight)


@pytest.mark.parametrize(
    ("method", "options"),
    [("asr", {"shrink": -1.0}), ("two_stage", {"strength": -1.0}), ("intra_fusion", {"order": 0.5})],
)
def test_numbers_that_mean_nothing_are_refused_by_name(method, options):
    small, x = pruned("mlp")
    ((key, value),) = options.items()
    with pytest.raises(isoprune.IsopruneError, match=rf"^{key} is {value}"):
        isoprune.repair(small, method, batches=[(x, torch.zeros(len(x)))], **options)
