"""Reconstruction of transposed convolutions, place by place of the stride, against explicit least squares."""

from __future__ import annotations

import copy

import pytest
import torch
from repair_networks import data, inputs, run, seeded
from torch import Generator, nn
from torch.nn.utils import prune as masks

import isoprune
from isoprune.graph.cloning import copied
from isoprune.methods.repairs.reconstruct import reconstruct
from isoprune.types import Plan

ALL = 10**6  # places: every one

LAYERS = [
    nn.ConvTranspose2d(4, 6, 3),
    nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1),
    nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
    nn.ConvTranspose2d(4, 4, (2, 3), stride=(1, 2), dilation=(2, 1), groups=4, bias=False),
    nn.ConvTranspose1d(4, 6, 5, stride=3, padding=2),
    nn.ConvTranspose3d(4, 2, 2, stride=2, groups=2),
]


def repaired(pruned, dense, x, plan, **options):
    return run(reconstruct, pruned, dense=dense, plan=plan, batches=data(x), **options)


def images(layer, samples=40):
    dims = len(layer.kernel_size)
    return inputs(samples, layer.in_channels, *(9, 4, 3)[dims - 1 :][:1] * dims)


def drawn(layer):
    return nn.Sequential(seeded(lambda: copy.deepcopy(layer).double()))


def designs(layer, x):
    """Return per group what each weight of a filter adds to its output: a forward for every weight."""
    probe = copied(layer)
    if hasattr(probe, "weight_mask"):
        masks.remove(probe, "weight")
    probe.bias = None
    groups, columns = layer.groups, []
    per = layer.in_channels // groups
    taps = layer.weight[0, 0].numel()
    outs = layer.out_channels // groups
    for channel in range(per):
        for tap in range(taps):
            W = torch.zeros_like(layer.weight)
            W.flatten(2)[channel::per, :, tap] = 1
            probe.weight = nn.Parameter(W, requires_grad=False)
            columns.append(probe(x)[:, ::outs].transpose(0, 1).flatten(1))  # [groups, samples * places]
    return torch.stack(columns, -1)


def as_filters(layer, weight):
    """Return [groups, filters, channels * taps] of a tensor that lies as the weight does."""
    return torch.stack([part.transpose(0, 1).flatten(1) for part in weight.chunk(layer.groups)])


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_every_filter_is_the_least_squares_of_what_it_may_read(layer, masked, unpulled):
    x = images(layer)
    teacher, student = drawn(layer), drawn(layer)
    # What cannot be met: the dense layer sees inputs that the other one does not.
    teacher.insert(0, nn.Hardtanh())
    student.insert(0, nn.ReLU6())
    student[1].weight.data.mul_(0.3)
    if masked:
        held = torch.rand(layer.weight.shape, generator=Generator().manual_seed(4)) < 0.6
        masks.custom_from_mask(student[1], "weight", held)
    with torch.no_grad():
        new = repaired(student, teacher, x, Plan(), places=ALL)[1]
        X = designs(new, student[0](x))
        Y = teacher(x).transpose(0, 1).flatten(1).unflatten(0, (layer.groups, -1))
        W = as_filters(layer, new.weight)
        mask = as_filters(layer, student[1].weight_mask) if masked else torch.ones_like(W)
    filters = Y.shape[1]
    for g in range(layer.groups):
        for o in range(filters):
            inside = mask[g, o].bool()
            A = X[g][:, inside]
            if layer.bias is not None:
                A = torch.cat([A, torch.ones(len(A), 1)], 1)
            want = torch.linalg.lstsq(A, Y[g, o]).solution
            got = W[g, o, inside]
            if layer.bias is not None:
                got = torch.cat([got, new.bias[g * filters + o : g * filters + o + 1]])
            torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
            assert not W[g, o, ~inside].any()


class Decoder(nn.Module):
    """Codes, and a map made twice as large, twice."""

    def __init__(self, groups=1, normed=False, linear=False):
        super().__init__()
        self.act = nn.Identity() if linear else nn.ReLU()
        self.wide, self.code = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 8, 1)
        self.up = nn.ConvTranspose2d(8, 8, 4, stride=2, padding=1, groups=groups, bias=not normed)
        self.norm = nn.BatchNorm2d(8) if normed else nn.Identity()
        self.last = nn.ConvTranspose2d(8, 2, 3, stride=2, padding=1, output_padding=1)

    def forward(self, x):
        x = self.act(self.code(self.act(self.wide(x))))
        return self.last(self.act(self.norm(self.up(x))))


def halves_last(signals, units, *, generator):
    """Score the later channels of a group low, whatever the weights: plans can be known beforehand."""
    return {u.name: -torch.arange(u.size).double() for u in units}


def halved(net, x):
    return isoprune.prune(net, x[:2], 0.5, criterion=halves_last)


def settled(net, x):
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.momentum = None
    net.train()
    with torch.no_grad():
        net(x)
    return net.eval()


def test_what_others_know_too_comes_back_exactly(unpulled):
    x, unseen = inputs(160, 3, 4, 4).split([120, 40])
    dense = seeded(lambda: Decoder(linear=True))
    plan = halved(dense, x).plan
    for name, mix in (("wide", inputs(16, 16)), ("code", inputs(8, 8)), ("up", inputs(8, 8, seed=2))):
        # What goes is a mixture of what stays, and every map in between is linear.
        layer, gone = getattr(dense, name), sorted(plan.removed[name])
        kept = [c for c in range(len(mix)) if c not in gone]
        M = mix[gone][:, kept] / 3
        filters = layer.weight.data.transpose(0, 1) if name == "up" else layer.weight.data
        filters[gone] = torch.einsum("ok,kihw->oihw", M, filters[kept])
        layer.bias.data[gone] = M @ layer.bias.data[kept]
    result = halved(dense, x)
    assert result.plan.removed == plan.removed
    assert result.model.up.weight.shape[:2] == (4, 4)
    new = repaired(result.model, dense, x, result.plan, places=ALL, give=0.0)
    with torch.no_grad():
        want = dense(unseen)
        assert (result.model(unseen) - want).norm() > 0.1 * want.norm()
        # At the rim, too: zeros around the map are zeros in every channel.
        torch.testing.assert_close(new(unseen), want, rtol=1e-7, atol=1e-7)


@pytest.mark.matrix
@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_a_decoder_comes_nearer_on_codes_it_never_saw(groups, normed):
    x, unseen = inputs(300, 3, 4, 4).split([200, 100])
    dense = settled(seeded(lambda: Decoder(groups, normed)), x)
    result = halved(dense, x)
    new = repaired(result.model, dense, x, result.plan)
    assert [type(m) for m in new.modules()] == [type(m) for m in result.model.modules()]
    assert list(new.state_dict()) == list(result.model.state_dict())
    with torch.no_grad():
        want = dense(unseen)
        assert (new(unseen) - want).norm() < 0.9 * (result.model(unseen) - want).norm()


def test_batchnorm_behind_is_the_same_function_in_both_modes():
    x = inputs(80, 3, 4, 4)
    dense = settled(seeded(lambda: Decoder(2, True)), x)
    result = halved(dense, x)
    new = repaired(result.model, dense, x, result.plan, places=ALL)
    with torch.no_grad():
        torch.testing.assert_close(copy.deepcopy(new).train()(x), new(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(new.up.weight.norm(), result.model.up.weight.norm())


def test_an_output_size_given_in_the_call_is_followed(unpulled):
    class Sized(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1)

        def forward(self, x):
            return self.up(x, output_size=(8, 8))

    x = inputs(40, 3, 4, 4)
    dense = seeded(Sized)
    pruned = copy.deepcopy(dense)
    pruned.up.weight.data[0] = 0
    new = repaired(pruned, dense, x, Plan(), places=ALL)
    torch.testing.assert_close(new.up.weight, dense.up.weight, rtol=1e-7, atol=1e-7)


def test_dead_filters_stay_dead_and_dead_inputs_change_nothing():
    x = inputs(60, 3, 4, 4)
    dense = seeded(Decoder)
    dense.up.weight.data[:, 1], dense.up.bias.data[1] = 0, 0
    dense.code.weight.data[0], dense.code.bias.data[0] = 0, 0
    result = halved(dense, x)
    new = repaired(result.model, dense, x, result.plan)
    assert all(p.isfinite().all() for p in new.parameters())
    assert new.up.weight[1:, 1].abs().max() < 1e-12 > new.up.bias[1].abs()
    torch.testing.assert_close(new.up.weight[0], result.model.up.weight[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_nothing_removed_nothing_changed(layer):
    x, dense = images(layer), drawn(layer)
    new = repaired(copy.deepcopy(dense), dense, x, Plan())
    for a, b in zip(new.parameters(), dense.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-8)
