"""OrthP: exact isometry of linear networks, gains, groups, and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from repair_networks import run
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from isoprune.isometry import jacobian_singular_values
from isoprune.methods.layers.weights import activation_gain
from isoprune.methods.repairs.orthp import orthp
from isoprune.types import IsopruneError
from reference import gram_schmidt

CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def mlp_7(activation=None, dead=False):
    """Return the paper's MLP after 0.8 of its neurons went, in float64."""
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        layers: list[nn.Module] = [nn.Flatten(), nn.Linear(1024, 20)]
        for _ in range(5):
            layers += [activation()] if activation else []
            layers.append(nn.Linear(20, 20))
        net = (
            nn.Sequential(*layers, *([activation()] if activation else []), nn.Linear(20, 10)).double().eval()
        )
    if dead:
        net[2].weight.data[3] = 0
    return net


def repair(net, **options):
    return run(orthp, net, **options)


@pytest.mark.parametrize("dead", [False, True])
def test_linear_mlp_7_has_every_singular_value_one(dead):
    x = torch.randn(5, 1, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    sigma = jacobian_singular_values(repair(mlp_7(dead=dead)), x)
    assert (sigma - 1).abs().max() < 1e-10


@pytest.mark.parametrize("gain", [1, 0.5, 2.0])
def test_gains_multiply(gain):
    x = torch.randn(2, 1024, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    sigma = jacobian_singular_values(repair(mlp_7(), gain=gain), x)
    torch.testing.assert_close(sigma, torch.full_like(sigma, gain**7), **CLOSE)
    sigma = jacobian_singular_values(repair(mlp_7(), gain=gain, classifier_gain=3), x)
    torch.testing.assert_close(sigma, torch.full_like(sigma, 3 * gain**6), **CLOSE)


def test_each_layer_is_gram_schmidt_of_its_filters_times_the_gain_and_biases_stay():
    net = mlp_7(nn.ReLU)
    new = repair(net)
    torch.testing.assert_close(new[3].weight.data, math.sqrt(2) * gram_schmidt(net[3].weight.data), **CLOSE)
    assert all(torch.equal(a.bias, b.bias) for a, b in zip(net, new, strict=True) if isinstance(a, nn.Linear))
    torch.testing.assert_close(repair(new).state_dict(), new.state_dict(), **CLOSE)


class Functional(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.function = function

    def forward(self, x):
        return self.function(self.layer(x))


@pytest.mark.parametrize(
    ("net", "gain"),
    [
        (mlp_7(), 1),
        (mlp_7(nn.ReLU), math.sqrt(2)),
        (mlp_7(nn.GELU), math.sqrt(2)),
        (mlp_7(nn.Tanh), 1),
        (Functional(torch.tanh), 1),
        (Functional(F.relu), math.sqrt(2)),
        (Functional(torch.relu), math.sqrt(2)),
        (Functional(lambda x: x.relu()), math.sqrt(2)),
        (Functional(F.silu), math.sqrt(2)),
        (Functional(lambda x: F.leaky_relu(x, 0.1)), math.sqrt(2)),
    ],
)
def test_gain_is_found_in_modules_and_in_the_forward(net, gain):
    assert activation_gain(net) == gain


def test_forward_that_cannot_be_traced_asks_for_the_gain():
    net = Functional(lambda x: x if x.sum() > 0 else -x)
    with pytest.raises(
        IsopruneError, match=r"Cannot tell whether Functional has a ReLU-like.*Pass gain = 1.4142"
    ):
        repair(net)
    assert torch.isfinite(repair(net, gain=1).layer.weight).all()


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_filters_of_a_grouped_convolution_are_orthonormal(groups):
    net = nn.Sequential(nn.Conv2d(6, 12, 3, groups=groups)).double()
    W = repair(net)[0].weight.detach().flatten(1)
    for block in W.chunk(groups):
        torch.testing.assert_close(block @ block.mT, torch.eye(len(block)).double(), **CLOSE)


def test_tied_weights_are_repaired_once_and_stay_tied():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2)).double()
    net[2].weight = net[0].weight
    new = repair(net, gain=2)
    assert new[2].weight is new[0].weight
    torch.testing.assert_close(torch.linalg.svdvals(new[0].weight.detach()), torch.full((4,), 2.0).double())


@pytest.mark.parametrize("kind", [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d])
def test_transposed_convolution_keeps_its_filters_in_the_second_dimension(kind):
    net = nn.Sequential(kind(6, 4, 2, groups=2)).double()
    weight = repair(net)[0].weight.detach()
    for block in weight.chunk(2):
        W = block.transpose(0, 1).flatten(1)
        torch.testing.assert_close(W @ W.mT, torch.eye(2).double(), **CLOSE)


@pytest.mark.parametrize("key", ["in_proj_weight", "out_proj.weight"])
def test_what_torchs_own_masks_hold_at_zero_stays_zero(key):
    attention = nn.MultiheadAttention(4, 2).double()
    owner, name = (attention.out_proj, "weight") if "." in key else (attention, key)
    prune.l1_unstructured(owner, name, 0.5)
    new = repair(attention, gain=1)
    owner = new.out_proj if "." in key else new
    weight, mask = getattr(owner, name), getattr(owner, f"{name}_mask")
    assert torch.equal(weight, getattr(owner, f"{name}_orig") * mask)
    assert not weight[mask == 0].any()


def test_parametrised_weights_are_refused():
    normed = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 3)))
    with pytest.raises(IsopruneError, match=r"remove_parametrizations"):
        repair(normed, gain=1)


def test_nan_names_the_layer():
    net = mlp_7()
    net[4].weight.data[0, 0] = float("nan")
    with pytest.raises(IsopruneError, match=r"^4: W of shape \(20, 20\) holds NaN"):
        repair(net)
