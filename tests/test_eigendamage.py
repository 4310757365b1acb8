"""EigenDamage: its basis, its scores, its bottlenecks, and that nothing changes at ratio 0."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import isoprune
from isoprune.graph import trace
from isoprune.methods.layers.layer_moments import layer_moments
from isoprune.pruning import flops
from isoprune.pruning.costs import everything
from isoprune.signals import Signals
from isoprune.types import IsopruneError, Task
from isoprune.verbs.eigendamage import eigen_layer


def convolutional():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1),
            nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
        ).double().eval()  # fmt: skip
        x = torch.randn(12, 3, 6, 6, dtype=torch.float64)
    return net, x, [(x, torch.arange(12) % 5)]


def layers_of(net, batches, task=None):
    signals = Signals(net, batches, *([task] if task else []))
    names = [n for n, w in signals.weights.items() if w.dim() > 1]
    how = {"samples": 256, "places": 10**6, "gigabytes": 1.0}
    moments = layer_moments(signals, names, generator=torch.Generator().manual_seed(0), **how)
    return moments, {name: eigen_layer(m) for name, m in moments.items()}


def test_the_basis_diagonalises_a_linear_layer_s_fisher_matrix():
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    net, task = nn.Sequential(nn.Linear(4, 1, bias=False)).double(), Task(loss=nn.MSELoss())
    _, layers = layers_of(net, [(x, x[:, :1])], task)
    one = layers["0.weight"]
    exact = x.T @ x / 9  # J^T J of one value
    Q = torch.kron(one.bases.outputs, one.bases.inputs)
    turned = Q.T @ exact @ Q
    torch.testing.assert_close(turned, torch.diag(turned.diagonal()))
    # In it a weight's part of the loss is its own: the scores of inputs are those of the whole matrix.
    w = (net[0].weight.detach() @ one.bases.inputs)[0]
    torch.testing.assert_close(one.inputs, w.square() * turned.diagonal() / 2)
    torch.testing.assert_close(
        one.outputs.sum(), (net[0].weight @ exact @ net[0].weight.T).sum().detach() / 2
    )


def test_scores_are_sums_over_rows_and_columns_in_the_basis_of_the_factors():
    net, _, batches = convolutional()
    moments, layers = layers_of(net, batches)
    m, one = moments["3.weight"], layers["3.weight"]
    A = sum(m.inputs[0][t::9, t::9] for t in range(9)) / 9
    a, g = (torch.linalg.eigvalsh(t) for t in (A, m.outputs[0]))
    Q_a, Q_g, W = one.bases.inputs, one.bases.outputs, net[3].weight.detach()
    torch.testing.assert_close(Q_a.T @ A @ Q_a, torch.diag(a))
    torch.testing.assert_close(Q_g.T @ m.outputs[0] @ Q_g, torch.diag(g))
    rows = torch.stack([sum((Q_g[:, i] @ W[..., p, q] @ Q_a[:, j]) ** 2 for p in range(3) for q in range(3))
                        for i in range(8) for j in range(8)]).reshape(8, 8)  # fmt: skip
    want = rows * g[:, None] * a / 2
    torch.testing.assert_close(one.outputs, want.sum(1))
    torch.testing.assert_close(one.inputs, want.sum(0))


def test_at_ratio_0_it_is_the_network():
    net, x, batches = convolutional()
    made = isoprune.eigendamage(net, x, 0, batches=batches)
    assert made.model is net
    assert not made.plan


@pytest.mark.parametrize("ratio", [0.3, 0.6])
def test_bottlenecks_are_proven_smaller_and_no_label_is_read(ratio):
    net, x, batches = convolutional()
    before = copy.deepcopy(net.state_dict())
    made = isoprune.eigendamage(net, x, ratio, batches=batches)
    again = isoprune.eigendamage(net, x, ratio, batches=[(x, None)])
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    torch.testing.assert_close(made.dense(x), net(x))  # full bottlenecks: other coordinates, no more
    isoprune.verify(made)
    torch.testing.assert_close(made.model(x), again.model(x))
    number = sum(p.numel() for p in net.parameters())
    assert made.costs.dense.parameters == number
    assert made.costs.pruned.parameters == sum(p.numel() for p in made.model.parameters()) < number
    graph = trace(net, x)
    assert made.costs.dense.flops == flops(graph, everything(graph))
    assert made.costs.ratios["parameters"] == pytest.approx(1 - made.costs.pruned.parameters / number)


def test_a_bottleneck_is_the_layer_without_its_directions_of_least_worth():
    net, x, batches = convolutional()
    _, layers = layers_of(net, batches)
    made = isoprune.eigendamage(net, x, 0.4, batches=batches, places=10**6)
    assert made.history[-1]["layers"]
    for name in made.history[-1]["layers"]:
        one, W = layers[f"{name}.weight"], net.get_submodule(name).weight.detach()
        three = made.model.get_submodule(name)
        a, g = (one.inputs.argsort(descending=True), one.outputs.argsort(descending=True))
        a, g = a[: three[0].weight.shape[0]].sort().values, g[: three[1].weight.shape[0]].sort().values
        assert len(a) < len(one.inputs) or len(g) < len(one.outputs)
        P_a, P_g = (Q[:, k] @ Q[:, k].T for Q, k in ((one.bases.inputs, a), (one.bases.outputs, g)))
        want = torch.einsum("po,oi...,iq->pq...", P_g, W, P_a)
        got = torch.einsum(
            "po,oi...,iq->pq...", three[2].weight.flatten(1), three[1].weight, three[0].weight.flatten(1)
        )
        torch.testing.assert_close(got.detach(), want)


def test_layers_that_would_not_get_smaller_stay_as_they_were():
    net, x, batches = convolutional()
    made = isoprune.eigendamage(net, x, 0.3, batches=batches)
    untouched = {"0", "3", "7"} - set(made.history[-1]["layers"])
    assert untouched
    for name in untouched:
        assert torch.equal(made.model.get_submodule(name).weight, net.get_submodule(name).weight)
    with pytest.raises(IsopruneError, match=r"No layer has fewer parameters as a bottleneck at ratio=0\.01"):
        isoprune.eigendamage(net, x, 0.01, batches=batches)


def test_a_layer_keeps_what_the_cap_leaves():
    net, x, batches = convolutional()
    made = isoprune.eigendamage(net, x, 0.9, batches=batches, cap=0.5)
    three = made.model[3]
    assert three[0].weight.shape[0] >= 4
    assert three[1].weight.shape[0] >= 4


def test_a_masked_network_is_refused_and_a_pruned_one_goes_on():
    net, x, batches = convolutional()
    with pytest.raises(IsopruneError, match="The network is masked"):
        isoprune.eigendamage(isoprune.prune(net, x, 0.5, grain="weight"), batches=batches)
    small = isoprune.prune(net, x, 0.25)
    made = isoprune.eigendamage(small, ratio=0.5, batches=batches)
    assert [entry["step"] for entry in made.history] == ["prune", "eigendamage"]
    assert made.costs.dense.parameters == sum(p.numel() for p in small.model.parameters())


@pytest.mark.parametrize("ratio", [1.0, -0.1, True])
def test_a_ratio_that_is_none_is_refused(ratio):
    net, x, batches = convolutional()
    with pytest.raises(IsopruneError, match=r"not a number in \[0, 1\)"):
        isoprune.eigendamage(net, x, ratio, batches=batches)


def test_factors_that_do_not_fit_are_refused_before_the_network_runs():
    net, x, batches = convolutional()

    def run(*_):
        raise AssertionError("the network ran")

    net.register_forward_pre_hook(run)
    with pytest.raises(IsopruneError, match=r"more than gigabytes=1e-07\. Raise gigabytes, or take"):
        isoprune.eigendamage(net, x, 0.5, batches=batches, gigabytes=1e-7)
