"""The error along the straight line between two networks: closed forms, and what has no line."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import isoprune
from isoprune.reporting import error_paths, write_figure
from isoprune.types import IsopruneError
from isoprune.verbs.connectivity import LinearPath

X = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Y = X @ torch.tensor([[1.0], [-2.0], [0.5]], dtype=torch.float64) + 0.3
DATA = [(X[:25], Y[:25]), (X[25:], Y[25:])]
MSE = nn.MSELoss()


def linear(seed):
    with torch.random.fork_rng():
        torch.random.manual_seed(seed)
        return nn.Linear(3, 1).double()


def error(net):
    return float((net(X) - Y).detach().square().mean())


def test_of_a_convex_loss_the_path_is_the_parabola_below_its_ends():
    a, b = linear(0), linear(1)
    path = isoprune.error_path(a, b, DATA, loss=MSE, points=5)
    ends, apart = (error(a), error(b)), float((a(X) - b(X)).detach().square().mean())
    want = [(1 - t) * ends[0] + t * ends[1] - t * (1 - t) * apart for t in (0, 0.25, 0.5, 0.75, 1)]
    assert path.errors == pytest.approx(want)
    assert path.above_line == 0
    assert path.loss
    assert path.metric == "loss"


def test_of_two_copies_that_converged_on_a_convex_loss_the_barrier_is_zero():
    how = {"epochs": 80, "lr": 0.2, "schedule": "cosine", "weight_decay": 0.0, "momentum": 0.5}
    path = isoprune.instability(linear(0), train=DATA, validation=DATA, loss=MSE, seeds=(3, 4), **how)
    assert path.barrier == pytest.approx(0, abs=1e-9)
    assert error(linear(0)) > 0.1


def two_units(*, swapped):
    """Return x = relu(x) - relu(-x) as a network, its two hidden neurons in this order or the other."""
    net = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False)).double()
    first = torch.tensor([-1.0, 1.0] if swapped else [1.0, -1.0], dtype=torch.float64)
    with torch.no_grad():
        net[0].weight.copy_(first[:, None])
        net[2].weight.copy_(first[None])
    return net


def test_a_permuted_copy_is_the_same_function_behind_a_barrier():
    x = X[:, :1]
    path = isoprune.error_path(
        two_units(swapped=False), two_units(swapped=True), [(x, x)], loss=MSE, points=9
    )
    # At t the weights of both layers are 1 - 2t times the first network's.
    want = [(1 - (1 - 2 * t) ** 2) ** 2 * float(x.square().mean()) for t in torch.linspace(0, 1, 9).tolist()]
    assert path.errors == pytest.approx(want, abs=1e-12)
    assert path.errors[0] == path.errors[-1] == 0
    assert path.barrier == path.above_line == pytest.approx(float(x.square().mean()))
    assert not path.stable


def test_errors_are_what_a_metric_leaves_and_networks_stay_as_they_are():
    net = nn.Sequential(nn.Linear(3, 2)).double()
    data, before = [(X, (Y[:, 0] > 0).long())], copy.deepcopy(net.state_dict())
    path = isoprune.error_path(net, net, data, points=3)
    right = float((net(X).argmax(1) == data[0][1]).double().mean())
    assert path.errors == pytest.approx([1 - right] * 3)
    assert path.barrier == pytest.approx(0)
    assert path.stable
    assert all(torch.equal(t, before[k]) for k, t in net.state_dict().items())
    assert net.training


def test_a_pruned_network_is_compared_under_its_masks():
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).double()
    data = [(X, (Y[:, 0] > 0).long())]
    small = isoprune.prune(net, X[:2], 0.5, grain="weight")
    path = isoprune.instability(small, train=data, validation=data, epochs=1, lr=0.1, points=3)
    assert len(path.errors) == 3
    other = isoprune.prune(net, X[:2], 0.5, grain="weight", criterion="random")
    with pytest.raises(IsopruneError, match=r"differ in the mask 0\.parametrizations\.weight\.0\.kept"):
        isoprune.error_path(small, other, data)


def test_statistics_between_the_ends_are_those_of_the_data():
    def net(scale):
        made = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).double().eval()
        with torch.no_grad():
            made[0].weight.fill_(scale)
            made[0].bias.zero_()
            made[1].running_var.fill_(float(X.sum(1).var()) * scale**2)
            made[1].running_mean.fill_(float(X.sum(1).mean()) * scale)
            for parameter in made[2].parameters():
                parameter.fill_(0.5)
        return made

    # Two scales that BatchNorm takes out: one function all along the line, where it is re-estimated.
    made = [(X, Y)]
    exact = isoprune.error_path(net(1.0), net(3.0), made, loss=MSE, points=3, batches=made)
    assert exact.errors == pytest.approx([exact.errors[0]] * 3, rel=1e-4)
    ends, middle = (
        exact.errors[0],
        isoprune.error_path(net(1.0), net(3.0), made, loss=MSE, points=3).errors[1],
    )
    assert abs(middle - ends) > 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: isoprune.error_path(linear(0), nn.Linear(4, 1), DATA), r"The two networks differ in weight"),
        (lambda: isoprune.error_path(linear(0), linear(1), DATA, points=1), r"points is 1\. Give 2 or more"),
        (lambda: isoprune.instability(linear(0), train=DATA, seeds=(1, 1), lr=0.1), r"seeds is \[1, 1\]"),
        (lambda: isoprune.instability(linear(0), train=DATA), r"lr is 'auto', which may differ"),
    ],
)
def test_what_has_no_line_is_refused(call, message):
    with pytest.raises(IsopruneError, match=message):
        call()


def test_paths_are_drawn_with_their_barriers(tmp_path):
    path = LinearPath("accuracy", (0.0, 0.5, 1.0), (0.1, 0.4, 0.2))
    assert path.barrier == pytest.approx(0.25)
    file = write_figure(error_paths({"step 0": path.as_dict()}), tmp_path / "path.svg", title="Instability")
    drawn = file.read_text(encoding="utf-8")
    assert "step 0: barrier 25.0 points" in drawn
    assert "place between two copies" in drawn
