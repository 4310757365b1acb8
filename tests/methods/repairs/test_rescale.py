"""Rescale: gains and Jacobians come back to the dense network's, and what stays meanwhile."""

from __future__ import annotations

import pytest
import torch
from repair_networks import data, inputs, masked, mlp, run, seeded
from torch import nn

from isoprune.isometry import jacobian_singular_values, layer_gains
from isoprune.methods.repairs import rescale
from isoprune.types import IsopruneError

X = inputs(12, 6)
DATA = data(X)


def relu_mlp(seed=0, scale=1.0, bias=True):
    net = seeded(lambda: mlp(6, 8, 8, 5, bias=bias), seed)
    with torch.no_grad():
        for i in (0, 2, 4):
            net[i].weight.mul_(scale)
    return net


def gains(net, x=X):
    return {g.name: g.forward * g.backward for g in layer_gains(net, x) if g.kind != "ReLU"}


def convolutional():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 2, groups=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(24, 5),
    )  # fmt: skip


@pytest.mark.parametrize("biases", ["kept", "scaled"])
def test_gains_become_those_of_the_dense_network(biases):
    dense, pruned = relu_mlp(1), relu_mlp(0, scale=0.4)
    new = run(rescale, pruned, dense=dense, batches=DATA, biases=biases, tolerance=1e-6, sweeps=60)
    have, want = gains(new), gains(dense)
    for name in want:
        assert have[name] == pytest.approx(want[name], rel=1e-4)
        assert have[name] != pytest.approx(gains(pruned)[name], rel=0.1)


def test_one_factor_a_layer_and_kept_biases():
    pruned = relu_mlp(0, scale=0.4)
    new = run(rescale, pruned, dense=relu_mlp(1), batches=DATA)
    for i in (0, 2, 4):
        ratio = new[i].weight / pruned[i].weight
        torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio))
        assert torch.equal(new[i].bias, pruned[i].bias)


def test_scaled_biases_multiply_the_function_by_the_product_of_the_factors():
    pruned = relu_mlp(0, scale=0.4)
    new = run(rescale, pruned, dense=relu_mlp(1), batches=DATA, biases="scaled")
    product = torch.stack([new[i].weight[0, 0] / pruned[i].weight[0, 0] for i in (0, 2, 4)]).prod()
    assert (product / 1).item() > 1.5
    torch.testing.assert_close(new(inputs(30, 6, seed=9)), product * pruned(inputs(30, 6, seed=9)))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("biases", ["kept", "scaled"])
def test_mean_singular_value_becomes_that_of_the_dense_network(bias, biases):
    dense, pruned = relu_mlp(1, bias=bias), relu_mlp(0, scale=0.4, bias=bias)
    new = run(rescale, pruned, dense=dense, batches=DATA, to="jsv", biases=biases, tolerance=1e-4)
    want = jacobian_singular_values(dense, X).mean().item()
    assert jacobian_singular_values(new, X).mean().item() == pytest.approx(want, rel=2e-4)
    ratios = [(new[i].weight / pruned[i].weight)[0, 0].item() for i in (0, 2, 4)]
    assert ratios == pytest.approx([ratios[0]] * 3)


def test_homogeneous_network_needs_one_measured_step():
    dense, pruned = relu_mlp(1), relu_mlp(0, scale=0.7)
    new = run(rescale, pruned, dense=dense, batches=DATA, to="jsv", biases="scaled", sweeps=1)
    want = jacobian_singular_values(dense, X).mean()
    torch.testing.assert_close(jacobian_singular_values(new, X).mean(), want, rtol=1e-9, atol=0)


def test_layer_before_batchnorm_gets_the_dense_gain_and_the_same_function():
    dense, pruned = seeded(convolutional, 1), seeded(convolutional, 0)
    for norm in (dense[1], pruned[1]):
        norm.running_mean -= 0.3
        norm.running_var += 0.7
    pruned[0].weight.data *= 0.2
    x = inputs(8, 2, 5, 5)
    new = run(rescale, pruned, dense=dense, batches=data(x), tolerance=1e-6, sweeps=60)
    for name, want in gains(dense, x).items():
        if name != "1":
            assert gains(new, x)[name] == pytest.approx(want, rel=1e-4)
    # But for the epsilon of BatchNorm the first layers compute what they did.
    torch.testing.assert_close(new[:2](x), pruned[:2](x), rtol=1e-3, atol=1e-4)
    assert (new[0].weight / pruned[0].weight)[0, 0, 0, 0] > 1.5


def test_batchnorm_everywhere_leaves_jsv_no_hold():
    build = lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5, eps=1e-12))  # noqa: E731
    dense, pruned = seeded(build, 1), seeded(build, 0)
    with pytest.raises(IsopruneError, match=r"does not grow with the scale.*to = \"gains\""):
        run(rescale, pruned, dense=dense, batches=DATA, to="jsv")


def test_masks_and_dead_layers_stay():
    dense, pruned = relu_mlp(1), masked(relu_mlp(0))
    new = run(rescale, pruned, dense=dense, batches=DATA)
    assert torch.equal(new[2].weight_mask, pruned[2].weight_mask)
    new(X)
    assert torch.equal(new[2].weight == 0, pruned[2].weight_mask == 0)
    dead = relu_mlp(0)
    dead[2].weight.data.zero_()
    assert (run(rescale, dead, dense=dense, batches=DATA)[2].weight == 0).all()
    with pytest.raises(IsopruneError, match=r"Jacobian of the pruned network is zero.*reconstruct"):
        run(rescale, dead, dense=dense, batches=DATA, to="jsv")


def test_training_modes_of_both_networks_stay():
    dense, pruned = relu_mlp(1).train(), relu_mlp(0).train()
    new = run(rescale, pruned, dense=dense, batches=DATA)
    assert dense[0].training
    assert pruned[0].training
    assert new[0].training


def test_another_network_is_no_dense():
    with pytest.raises(
        IsopruneError, match=r"The dense network has no layer '2': it is not the network that was pruned"
    ):
        run(rescale, relu_mlp(), dense=seeded(lambda: nn.Sequential(nn.Linear(6, 5))), batches=DATA)
