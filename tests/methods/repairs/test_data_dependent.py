"""Data-dependent initialisation: channel statistics, change rates, starts, and what stays."""

from __future__ import annotations

import math

import pytest
import torch
from repair_networks import data, inputs, masked, mlp, run, seeded
from torch import nn

from isoprune.methods.layers.passes import layers_with_output
from isoprune.methods.layers.patches import patches
from isoprune.methods.layers.weights import weights
from isoprune.methods.repairs import data_dependent
from isoprune.methods.repairs.data_dependent import change_rates, equalise_
from isoprune.types import IsopruneError

X = inputs(60, 6)


def relu_mlp(seed=0):
    net = seeded(lambda: mlp(6, 8, 9, 5), seed)
    net[2].weight.data *= 7
    return net


def convolutional():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 2, groups=2), nn.ReLU(),
        nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2), nn.Conv2d(4, 4, 3, groups=4, bias=False),
        nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip


def outputs(net, x):
    """Return what every Linear and convolution makes, as [points, channels]."""
    found = {}
    for i, layer in enumerate(net):
        x = layer(x)
        if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            found[i] = x.detach().movedim(1, -1).flatten(0, -2)
    return found


def rates(net, x=X):
    """Return change rates from one gradient a sample, by loops, many losses each."""
    layers = {layer.name: layer for layer in layers_with_output(net)}
    total = dict.fromkeys(layers, 0.0)
    noise = torch.randn(40, net(x[:1]).shape[1], generator=torch.Generator().manual_seed(3)).double()
    for sample in x:
        for eta in noise:
            net.zero_grad()
            (net(sample[None])[0] @ eta).backward()
            for name, layer in layers.items():
                total[name] = total[name] + layer.weight.parameter.grad.square()
    return {
        name: ((t / len(x) / len(noise)).mean(0).sqrt().mean() / layers[name].weight.parameter.norm()).item()
        for name, t in total.items()
    }


@pytest.mark.parametrize(
    ("build", "shape"), [(lambda: relu_mlp(), (60, 6)), (lambda: seeded(convolutional), (12, 2, 5, 5))]
)
def test_within_layers_every_channel_has_mean_zero_and_variance_one(build, shape):
    x = inputs(*shape)
    new = run(data_dependent, build(), batches=data(x), between=False)
    for i, y in outputs(new, x).items():
        torch.testing.assert_close(y.var(0, correction=0), torch.ones(y.shape[1]).double())
        if new[i].bias is not None:
            torch.testing.assert_close(y.mean(0), torch.zeros(y.shape[1]).double(), rtol=0, atol=1e-10)


def test_filters_keep_their_directions_and_batchnorm_undoes_the_step():
    net, x = seeded(convolutional), inputs(12, 2, 5, 5)
    new = run(data_dependent, net, batches=data(x))
    for a, b in zip(weights(net), weights(new), strict=True):
        cosine = torch.nn.functional.cosine_similarity(a.matrices, b.matrices, dim=2)
        torch.testing.assert_close(cosine, torch.ones_like(cosine))
    read = net[0](x)
    want = (read - read.mean((0, 2, 3), keepdim=True)) / read.var((0, 2, 3), keepdim=True).sqrt()
    torch.testing.assert_close(new[:2](x), want, rtol=1e-3, atol=1e-3)  # but for its epsilon


def test_between_layers_rates_become_one_and_the_function_stays():
    before = run(data_dependent, relu_mlp(), batches=data(X), between=False)
    after = run(data_dependent, relu_mlp(), batches=data(X))
    x = inputs(20, 6, seed=8)
    torch.testing.assert_close(after(x), before(x))
    spread = [math.log(max(r.values()) / min(r.values())) for r in (rates(before), rates(after))]
    assert spread[0] > 0.5
    assert spread[1] < 0.25  # noise of the random losses
    for i, y in outputs(after, X).items():
        torch.testing.assert_close(y.mean(0), torch.zeros(y.shape[1]).double(), rtol=0, atol=1e-9)
        variance = y.var(0, correction=0)
        torch.testing.assert_close(variance, variance[0].expand_as(variance)), i


def test_change_rates_are_those_of_single_gradients():
    net = relu_mlp()
    layers = {layer.name: layer for layer in layers_with_output(net)}
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(X) * 60, 5, generator=generator).double()
    got = change_rates(net, X.repeat(60, 1), layers, noise)
    for name, want in rates(net).items():
        assert got[name] == pytest.approx(want, rel=0.06)


def test_factors_multiply_to_one():
    net, before = relu_mlp(), relu_mlp()
    equalise_(net, X, 20, generator=torch.Generator().manual_seed(0))
    ratios = [(net[i].weight / before[i].weight)[0, 0].item() for i in (0, 2, 4)]
    assert math.prod(ratios) == pytest.approx(1)
    assert max(ratios) > 1.1


def test_dead_channels_stay_dead():
    net = relu_mlp()
    net[0].weight.data[2] = 0
    new = run(data_dependent, net, batches=data(X))
    assert (new[0].weight[2] == 0).all()
    assert new[0].bias[2] == 0
    net[2].weight.data.zero_()  # from here on nothing varies
    assert all(torch.isfinite(p).all() for p in run(data_dependent, net, batches=data(X)).parameters())


def test_patches_are_what_the_filters_read():
    layer = seeded(lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=1, dilation=(1, 2), groups=2))
    x = inputs(3, 4, 7, 6)
    read = patches(layer, x, 10**6, generator=torch.Generator())
    W = layer.weight.detach().reshape(2, 3, -1)
    got = torch.cat(list(read @ W.mT), dim=1) + layer.bias.detach()
    want = layer(x).detach().movedim(1, -1).flatten(0, -2)
    assert got.shape == want.shape
    # The order is random: compare as sets of rows.
    torch.testing.assert_close(got[got[:, 0].argsort()], want[want[:, 0].argsort()])


def test_pca_start_is_the_leading_components_of_the_inputs():
    net = seeded(lambda: nn.Sequential(nn.Linear(6, 3)))
    new = run(data_dependent, net, batches=data(X), start="pca", between=False)
    centred = X - X.mean(0)
    want = torch.linalg.svd(centred)[2][:3]
    got = torch.nn.functional.normalize(new[0].weight.detach(), dim=1)
    torch.testing.assert_close((got * want).sum(1).abs(), torch.ones(3).double())
    y = new(X).detach()
    torch.testing.assert_close(y.mT @ y / len(X), torch.eye(3).double())  # components do not correlate


def test_kmeans_start_points_at_clusters():
    generator = torch.Generator().manual_seed(0)
    corners = torch.tensor([[4.0, 0, 0], [0, 4, 0], [0, 0, 4]]).double()
    x = corners.repeat(20, 1) + 0.01 * torch.randn(60, 3, generator=generator).double()
    net = seeded(lambda: nn.Sequential(nn.Linear(3, 3)))
    new = run(data_dependent, net, batches=data(x), start="kmeans", between=False)
    # Each filter answers to one cluster more than to the others, and each cluster has its filter.
    assert new(corners).argmax(0).sort()[0].tolist() == [0, 1, 2]
    assert new(corners).argmax(1).sort()[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("start", ["pca", "kmeans"])
def test_starts_forget_the_kept_weights_and_normalise(start):
    x = inputs(12, 2, 5, 5)
    one, two = (
        run(data_dependent, seeded(convolutional, seed), batches=data(x), start=start, between=False)
        for seed in (0, 1)
    )
    torch.testing.assert_close(one[0].weight, two[0].weight)
    for y in outputs(one, x).values():
        torch.testing.assert_close(y.var(0, correction=0), torch.ones(y.shape[1]).double())


def test_kmeans_needs_inputs():
    net = seeded(lambda: nn.Sequential(nn.Linear(6, 9)))
    with pytest.raises(IsopruneError, match=r"^0: k-means finds 9 filters.*layer reads 4.*pca"):
        run(data_dependent, net, batches=data(X[:4]), start="kmeans")


def test_masks_are_kept():
    net = masked(relu_mlp())
    for start in ("kept", "pca"):
        new = run(data_dependent, net, batches=data(X), start=start)
        for a, b in zip(weights(net), weights(new), strict=True):
            assert torch.equal(a.mask, b.mask)
            assert (b.matrices[b.arranged(b.mask) == 0] == 0).all()


def test_nan_is_told_with_the_layer():
    net = relu_mlp()
    net[2].weight.data[0, 0] = float("inf")
    with pytest.raises(IsopruneError, match=r"^2: its output on the data holds NaN"):
        run(data_dependent, net, batches=data(X))
