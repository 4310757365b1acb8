"""A masked network is repaired as the small one where the mask is of whole channels, else within its mask."""

from __future__ import annotations

import pytest
import torch
from repair_networks import data, inputs, mlp, seeded
from torch import nn

import isoprune
from isoprune.linalg.isometry_loss import isometry_loss
from isoprune.methods.layers.weights import weights


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.block = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.deep, self.norm = nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8)
        self.act, self.head = nn.ReLU(), nn.Linear(8, 3)

    def forward(self, x):
        x = self.act(self.stem(x))
        x = self.act(self.norm(self.deep(x + self.block(x))))
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize(
    "method",
    ["orthp", "polar", "spectrum", "orthogonal_conv", "approximate_isometry", "batchnorm", "rescale"],
)
def test_channels_held_at_zero_are_as_good_as_gone(method):
    dense, x = seeded(Branches), inputs(8, 2, 5, 5)
    small, masked = (isoprune.prune(dense, x, 0.5, mask=mask) for mask in (False, True))
    made = [isoprune.repair(net, method, batches=data(x)).model for net in (small, masked)]
    with torch.no_grad():
        torch.testing.assert_close(made[0](x), made[1](x), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("grain", ["weight", "kernel", "vector", "filter", "2:4"])
def test_sparse_layers_are_isometries_within_their_masks(grain):
    dense, x = seeded(lambda: mlp(12, 16, 16, 8)), inputs(4, 12)
    ratio = {} if grain == "2:4" else {"ratio": 0.5}
    masked = isoprune.prune(dense, x, **ratio, grain=grain)
    exact, near, projected = (
        weights(isoprune.repair(masked, method, gain=1).model)
        for method in ("exact_orthogonal_sparse", "approximate_isometry", "orthp")
    )
    for weight, second, third in zip(exact, near, projected, strict=True):
        ((W,), (mask,)) = weight.matrices, weight.masks
        alive = torch.ones_like(W).bool() if mask is None else mask
        loss = [
            float(isometry_loss(V[alive.any(1)][:, alive.any(0)]))
            for V in (W, *second.matrices, *third.matrices)
        ]
        assert not W[~alive].any()
        assert loss[0] < 1e-12
        assert loss[1] <= loss[2] + 1e-9
