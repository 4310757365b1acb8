"""LSUV: unit variance of every layer's output on the data, in the order in which layers run."""

from __future__ import annotations

import pytest
import torch
from repair_networks import data, inputs, masked, mlp, run, seeded
from torch import nn

from isoprune.methods.layers.passes import layers_with_output, sweep_
from isoprune.methods.layers.weights import weights
from isoprune.methods.repairs import lsuv
from isoprune.types import IsopruneError

starts = pytest.mark.parametrize("start", ["orthonormal", "kept"])


def convolutional():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 2, groups=2), nn.ReLU(),
        nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2), nn.Conv2d(4, 4, 3, groups=4), nn.Flatten(),
        nn.Linear(16, 5),
    )  # fmt: skip


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(6, 3)  # registered first, runs last
        self.attend = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x):
        return self.out(x + self.attend(x, x, x)[0])


class Reused(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.unused = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x):
        return self.one(torch.relu(self.one(x)))


NETWORKS = {
    "mlp": (lambda: mlp(6, 9, 9, 4), (40, 6)),
    "convolutional": (convolutional, (10, 2, 5, 5)),
    "attention": (Attention, (10, 4, 6)),
}
networks = pytest.mark.parametrize(("build", "shape"), NETWORKS.values(), ids=NETWORKS)


def variances(net, x):
    """Return the variance of what every layer makes, by hooks of the test's own."""
    found = {}

    def record(name):
        def hook(_module, _args, out):
            found[name] = (out[0] if isinstance(out, tuple) else out).var(correction=0).item()

        return hook

    modules = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.MultiheadAttention)
    handles = [m.register_forward_hook(record(n)) for n, m in net.named_modules() if isinstance(m, modules)]
    net(x)
    for handle in handles:
        handle.remove()
    return found


@starts
@networks
def test_every_output_has_unit_variance_on_the_data(build, shape, start):
    x = inputs(*shape)
    new = run(lsuv, seeded(build), batches=data(x[:7], x[7:]), start=start, tolerance=1e-6)
    for name, variance in variances(new, x).items():
        assert variance == pytest.approx(1, abs=1e-5), name


def test_tolerance_decides_when_a_layer_is_left():
    x = inputs(40, 6)
    net = run(lsuv, seeded(lambda: mlp(6, 9, 9, 4)), batches=data(x), tolerance=1e-9)
    net[2].weight.data *= 1.02
    near = run(lsuv, net, batches=data(x), start="kept")
    assert torch.equal(near[2].weight, net[2].weight)
    net[2].weight.data *= 1.2
    far = run(lsuv, net, batches=data(x), start="kept")
    assert not torch.equal(far[2].weight, net[2].weight)


@networks
def test_kept_start_keeps_directions(build, shape):
    net = seeded(build)
    new = run(lsuv, net, batches=data(inputs(*shape)), start="kept")
    for a, b in zip(weights(net), weights(new), strict=True):
        ratio = b.parameter / a.parameter
        torch.testing.assert_close(ratio, ratio.flatten()[0].expand_as(ratio))


@networks
def test_orthonormal_start_is_orthonormal_but_for_one_scale_and_forgets_the_weights(build, shape):
    batches = data(inputs(*shape))
    new = run(lsuv, seeded(build), batches=batches)
    for weight in weights(new):
        for W in weight.matrices:
            sigma = torch.linalg.svdvals(W)
            torch.testing.assert_close(sigma, sigma[0].expand_as(sigma))
    other = run(lsuv, seeded(build, seed=4), batches=batches)
    for a, b in zip(weights(new), weights(other), strict=True):
        assert torch.equal(a.parameter, b.parameter)


def test_batchnorm_holds_the_statistics_of_what_it_reads():
    x = inputs(10, 2, 5, 5)
    new = run(lsuv, seeded(convolutional), batches=data(x))
    read = new[0](x)
    torch.testing.assert_close(new[1].running_mean, read.mean((0, 2, 3)))
    torch.testing.assert_close(new[1].running_var, read.var((0, 2, 3)))


def test_layers_run_in_their_own_order_once_and_unused_ones_stay():
    seen = []
    x = inputs(5, 4, 6)
    sweep_(seeded(Attention), x, lambda at: seen.append(at.layer.name))
    assert seen == ["attend", "out"]
    assert [layer.name for layer in layers_with_output(seeded(Attention))] == ["out", "attend"]
    net = seeded(Reused)
    new = run(lsuv, net, batches=data(inputs(40, 6)), start="kept", tolerance=1e-6)
    assert new.one(inputs(40, 6)).var(correction=0).item() == pytest.approx(1, abs=1e-5)
    assert torch.equal(new.unused.weight, net.unused.weight)


@starts
def test_masks_are_kept_and_counted(start):
    net = masked(seeded(lambda: mlp(6, 9, 4)))
    x = inputs(40, 6)
    new = run(lsuv, net, batches=data(x), start=start, tolerance=1e-6)
    for a, b in zip(weights(net), weights(new), strict=True):
        assert torch.equal(a.mask, b.mask)
        assert torch.equal(b.matrices == 0, b.arranged(b.mask) == 0)
    assert new(x).var(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_a_layer_without_variance_stays():
    net = seeded(lambda: mlp(6, 4, 4, bias=False))
    net[0].weight.data.zero_()
    new = run(lsuv, net, batches=data(inputs(9, 6)), start="kept")
    assert torch.equal(new[0].weight, net[0].weight)
    assert torch.equal(new[2].weight, net[2].weight)


def test_only_the_first_samples_are_looked_at():
    x = inputs(40, 6)
    new = run(lsuv, seeded(lambda: mlp(6, 9, 4)), batches=data(x), samples=10, tolerance=1e-6)
    assert new(x[:10]).var(correction=0).item() == pytest.approx(1, abs=1e-5)
    assert new(x).var(correction=0).item() != pytest.approx(1, abs=1e-3)


def test_nan_is_told_with_the_layer():
    net = seeded(lambda: mlp(6, 9, 4))
    net[2].weight.data[0, 0] = float("nan")
    with pytest.raises(IsopruneError, match=r"^2: its output on the data holds NaN"):
        run(lsuv, net, batches=data(inputs(9, 6)), start="kept")
    with pytest.raises(IsopruneError, match="batches is empty"):
        run(lsuv, net, batches=[])
