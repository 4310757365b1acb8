"""Sharpness: closed form, the whole Hessian, and what it says of a rate."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from isoprune.isometry import sharpness, stable_rate
from isoprune.types import IsopruneError


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def regression():
    X, y = draw(40, 6), draw(40, 1, seed=1)
    net = nn.Linear(6, 1, bias=False).double().eval()
    with torch.no_grad():
        net.weight.copy_(draw(1, 6, seed=2))
    return net, X, y, float(torch.linalg.eigvalsh(2 * X.mT @ X / 40)[-1])


def test_least_squares_has_the_largest_eigenvalue_of_its_covariance():
    net, X, y, want = regression()
    got = sharpness(
        net, [(X[:10], y[:10]), (X[10:], y[10:])], loss=F.mse_loss, tolerance=1e-10, iterations=500
    )
    assert got == pytest.approx(want, rel=1e-6)


def test_gradient_descent_bears_the_stable_rate_and_no_more():
    net, X, y, want = regression()
    best = torch.linalg.lstsq(X, y).solution.mT
    off = {}
    for part in (0.97, 1.03):
        w, velocity = net.weight.detach().clone(), torch.zeros(1, 6, dtype=torch.float64)
        for _ in range(2000):
            velocity = 0.9 * velocity + 2 * (w @ X.mT - y.mT) @ X / 40
            w = w - part * stable_rate(want, momentum=0.9) * velocity
        off[part] = float((w - best).norm())
    assert off[0.97] < 1e-6
    assert not off[1.03] < 1e6


def test_a_network_has_the_largest_eigenvalue_of_its_whole_hessian():
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.BatchNorm1d(4), nn.Linear(4, 3)).double().eval()
    for i, p in enumerate(net.parameters()):
        p.data = draw(*p.shape, seed=i)
    net[3].bias.requires_grad_(False)
    X, y = draw(8, 3, seed=9), torch.arange(8) % 3
    names = [n for n, p in net.named_parameters() if p.requires_grad]
    flat = torch.cat([dict(net.named_parameters())[n].detach().flatten() for n in names])

    def value(theta):
        state, at = {}, 0
        for n in names:
            p = dict(net.named_parameters())[n]
            state[n] = theta[at : at + p.numel()].view_as(p)
            at += p.numel()
        return F.cross_entropy(torch.func.functional_call(net, state, (X,)), y)

    H = torch.autograd.functional.hessian(value, flat)
    got = sharpness(net, [(X, y)], tolerance=1e-12, iterations=3000)
    assert got == pytest.approx(float(torch.linalg.eigvalsh(H).abs().max()), rel=1e-5)
    assert all(p.grad is None for p in net.parameters())


def test_errors_and_a_flat_loss():
    net, X, y, _ = regression()
    with pytest.raises(IsopruneError, match="batches is empty"):
        sharpness(net, [])
    with pytest.raises(IsopruneError, match="train mode"):
        sharpness(net.train(), [(X, y)], loss=F.mse_loss)
    net.eval()
    assert sharpness(net, [(0 * X, y)], loss=F.mse_loss) == 0
    assert stable_rate(0.0) == float("inf")
    with pytest.raises(IsopruneError, match="NaN or infinity"):
        sharpness(net, [(X / 0, y)], loss=F.mse_loss)
