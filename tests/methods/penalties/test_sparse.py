"""Penalties that press groups to zero, and those whose factors follow the weights: values, steps, choices."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from isoprune.methods.penalties import PENALTIES
from isoprune.methods.penalties.auto_balanced import balanced_factors
from isoprune.methods.penalties.group_lasso import group_lasso
from isoprune.methods.penalties.increg import increg, rank_change
from isoprune.methods.penalties.slimming import slimming, soft_threshold, sss
from isoprune.training import Training, fit
from isoprune.types import Data, IsopruneError, Plan
from methods.penalties.nets import drawn, gradients, planned


def index_sets(shape, over):
    """Return the groups of a weight, each as a list of its elements' places."""
    places = list(torch.cartesian_prod(*(torch.arange(n) for n in shape)).tolist())
    key = {
        "filters": lambda p: p[0],
        "channels": lambda p: p[1],
        "shapes": lambda p: tuple(p[1:]),
        "depth": len,
    }
    found: dict = {}
    for place in places:
        found.setdefault(key[over](place), []).append(tuple(place))
    return found.values()


@pytest.mark.parametrize("over", ["filters", "channels", "shapes", "depth"])
def test_group_lasso_is_the_sum_of_the_norms_of_its_groups(over):
    net = drawn("plain")
    want = 0.0
    for W in (net[0].weight.detach(), net[3].weight.detach()):
        for group in index_sets(W.shape, over):
            want += math.sqrt(sum(float(W[place]) ** 2 for place in group))
    got = group_lasso(net, Plan(), over=over, strength=0.1, only="[03]")(0)
    assert got.item() == pytest.approx(0.1 * want)


def test_group_lasso_makes_whole_groups_zero_and_l2_does_not():
    """Least squares with an orthonormal design: the minimum is the soft threshold of each group."""
    torch.manual_seed(0)
    target, net = torch.randn(5, 4, dtype=torch.float64), nn.Linear(4, 5, bias=False).double()
    strength, penalty = 1.7, group_lasso(net, Plan(), strength=1.7)
    for _ in range(4000):
        loss = (net.weight - target).square().sum() / 2 + penalty(0)
        (g,) = torch.autograd.grad(loss, [net.weight])
        with torch.no_grad():
            net.weight -= 0.02 * g
    norms = target.norm(dim=1, keepdim=True)
    assert 0 < (norms < strength).sum() < 5
    want = target * (1 - strength / norms).clamp_min(0)
    # A subgradient descent trembles around the kink within its step: 0.02 * 1.7.
    torch.testing.assert_close(net.weight.detach(), want, atol=0.04, rtol=0)


def test_slimming_is_l1_of_the_scales():
    net = drawn("depthwise")
    with torch.no_grad():
        net[1].weight[0] *= -1
    want = 0.3 * (net[1].weight.abs().sum() + net[4].weight.abs().sum())
    got = slimming(net, Plan(), strength=0.3)(0)
    torch.testing.assert_close(got, want)
    assert {n for n, g in gradients(got, net).items() if g.any()} == {"1.weight", "4.weight"}


@pytest.mark.parametrize("t", [0.0, 0.4, 3.0])
def test_the_proximal_step_meets_its_optimality_condition(t):
    """0 is in x - z + t * (subdifferential of the L1 norm at x)."""
    z = torch.tensor([-2.0, -0.4, -0.1, 0.0, 0.3, 0.4, 1.5], dtype=torch.float64)
    x = soft_threshold(z, t)
    at_zero = x == 0
    assert ((z - x)[at_zero].abs() <= t).all()
    torch.testing.assert_close((z - x)[~at_zero], t * x[~at_zero].sign())
    # And no other point is better.
    value = lambda x: (x - z) ** 2 / 2 + t * x.abs()  # noqa: E731
    assert all((value(x) <= value(x + d) + 1e-15).all() for d in (-1, -0.01, 0.01, 1))


def test_sss_takes_the_steps_as_written():
    net = drawn("plain")
    norm, penalty = net[1], sss(net, Plan(), strength=0.5, momentum=0.9)
    scale, v = norm.weight.detach().clone(), torch.zeros(6, dtype=torch.float64)
    others = net[0].weight.detach().clone()
    for step, lr in enumerate((0.3, 0.2, 0.1, 0.4)):
        gradient = torch.linspace(-1, 1, 6, dtype=torch.float64) * (step + 1)
        norm.weight.grad = gradient.clone()
        penalty(step)
        with torch.no_grad():
            norm.weight.add_(7)  # whatever the optimizer did
            norm.weight.grad.zero_()
        penalty.after_(step, lr)
        s = soft_threshold(scale - lr * gradient, lr * 0.5)
        v = s - scale + 0.9 * v
        scale = s + 0.9 * v
        torch.testing.assert_close(norm.weight.detach(), scale)
    assert torch.equal(net[0].weight, others)


def test_sss_gets_the_rate_of_every_step_in_a_training():
    """Weights without a use have no gradient: each step takes rate * strength off them, to zero exactly."""

    class Aside(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.head = nn.BatchNorm1d(3), nn.Linear(3, 2)

        def forward(self, x):
            return self.head(x) + 0 * self.norm(x)[:, :2]

    net, x = Aside(), torch.randn(8, 3)
    data = [(x, torch.arange(8) % 2)]
    training = Training(2, 0.4, lambda progress: 1 - progress, weight_decay=0.3)
    made, _ = fit(
        net, Data(data, data), training, generator=torch.Generator(),
        penalty=lambda m: sss(m, Plan(), strength=0.5, momentum=0.0),
    )  # fmt: skip
    torch.testing.assert_close(made.norm.weight.detach(), torch.full((3,), 1 - 0.5 * (0.4 + 0.2)))


def test_increg_moves_factors_by_rank():
    change = rank_change(torch.arange(6.0), 2, 0.1)
    torch.testing.assert_close(change, 0.1 * torch.tensor([1, 0.5, 0, -1 / 3, -2 / 3, -1]))


@pytest.mark.parametrize("grain", ["channel", "filter", "weight", "2x3"])
def test_increg_presses_on_the_smallest_and_lets_go_of_what_grew(grain):
    net = drawn("plain")
    graph, plan = planned(net, 0.3, grain)
    penalty = increg(net, plan, graph=graph, growth=0.1, interval=5, ceiling=1.0)
    assert penalty(0) == penalty(3) == 0
    first = penalty(5)
    assert first > 0
    assert penalty(7) == first  # between two updates nothing moves
    small = gradients(penalty(10), net)["0.weight"]
    assert small.any()
    # The pressed ones become the largest, and the weights that they leave behind go in the end.
    with torch.no_grad():
        net[0].weight[small != 0] = 100.0
    for step in range(15, 200, 5):
        penalty(step)
    assert not gradients(penalty(200), net)["0.weight"][small != 0].any()
    chosen = penalty.plan()
    assert {k: len(v) for k, v in chosen.removed.items()} == {k: len(v) for k, v in plan.removed.items()}
    if grain == "weight":
        assert chosen.kept["0.weight"][small != 0].all()


def test_auto_balanced_factors_are_those_written_and_balance():
    W = torch.tensor([[0.1, 0.1], [0.3, -0.2], [1.0, 1.0], [0.2, 0.2]], dtype=torch.float64)
    gone = torch.tensor([True, True, False, False])
    factors = balanced_factors(W, gone)
    theta = 0.5
    assert factors[0].item() == pytest.approx(1 + math.log(theta / 0.2))
    assert factors[1].item() == pytest.approx(1.0)
    # What stays: -1 - log(2 / theta), and -1 for the one below theta, both times tau.
    assert (factors[2] / factors[3]).item() == pytest.approx(1 + math.log(2 / theta))
    assert (factors * W.square().sum(1)).sum().item() == pytest.approx(0, abs=1e-12)
    assert (factors[gone] > 0).all()
    assert (factors[~gone] < 0).all()
    assert not balanced_factors(0 * W, gone).any()
    assert not balanced_factors(W, torch.zeros(4, dtype=torch.bool)).any()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("group_lasso", {"over": "rows"}, r"Unknown kind of group 'rows'"),
        ("group_lasso", {"strength": 0}, r"strength is 0\. Give a number above 0"),
        ("group_lasso", {"only": "block*"}, r"no Linear layer or convolution called 'block\*'"),
        ("slimming", {}, r"no BatchNorm with scales to press on\. Take group_lasso"),
        ("sss", {"momentum": 1.0}, r"momentum is 1\.0"),
    ],
)
def test_what_presses_on_nothing_is_refused(name, options, message):
    net = nn.Sequential(nn.Linear(3, 2)) if name != "sss" else drawn("plain")
    with pytest.raises(IsopruneError, match=message):
        PENALTIES[name](net, Plan(), **options)


def test_auto_balanced_refuses_units_that_are_no_filters():
    net = drawn("plain")
    graph, plan = planned(net, grain="weight")
    with pytest.raises(IsopruneError, match="auto_balanced pushes whole filters"):
        PENALTIES["auto_balanced"](net, plan, graph=graph)
