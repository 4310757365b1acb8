"""The tangent kernel: explicit gradients of single samples, closed forms, alignments."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import isoprune
from isoprune.isometry import output_mean_kernel
from isoprune.methods.measures.tangent import alignment
from isoprune.types import IsopruneError
from methods.measures.cases import chain, data, draw, drawn, found, mlp, number, refusal, with_dense


def gradients(net, x):
    """Return d y_c / d theta of every sample and output one by one: [samples, outputs, parameters]."""
    rows = []
    for x_n in x:
        y = net(x_n[None]).flatten()
        each = [torch.autograd.grad(y_c, list(net.parameters()), retain_graph=True) for y_c in y]
        rows.append(torch.stack([torch.cat([g.flatten() for g in one]) for one in each]))
    return torch.stack(rows)


def one_hot_kernel(y):
    return (y[:, None] == y).double()


@pytest.mark.parametrize("build", [mlp, lambda: isoprune.prune(mlp(), data()[0], 0.5, grain="weight").model])
def test_trace_and_condition_are_those_of_the_explicit_kernel(build):
    net, (x, y) = build(), data()
    G = gradients(net, x[:4]).flatten(0, 1)
    values = torch.linalg.eigvalsh(G @ G.mT)
    got = found(net, "tangent_kernel", (x[:3], y[:3]), (x[3:], y[3:]), samples=4)
    assert got["log_tangent_trace"] == pytest.approx(math.log10(G.square().sum() / 4))
    eps = torch.finfo(torch.float32).eps
    want = math.log10(values[-1] / values[0].clamp_min(eps * values[-1]))
    assert got["log_tangent_condition"] == pytest.approx(want, rel=1e-6)


def test_of_a_linear_layer_on_orthonormal_inputs_it_is_the_identity():
    got = found(nn.Linear(4, 3, bias=False).double().eval(), "tangent_kernel", (torch.eye(4).double(),))
    assert got == pytest.approx({"log_tangent_trace": math.log10(3), "log_tangent_condition": 0}, abs=1e-12)


def test_of_a_dead_network_the_condition_is_at_its_bound():
    net = chain(torch.zeros(4, 5), torch.zeros(3, 4))
    got = found(net, "tangent_kernel", data())
    assert got["log_tangent_trace"] is None
    assert got["log_tangent_condition"] == pytest.approx(-math.log10(torch.finfo(torch.float32).eps))
    assert "gives all samples the same" in refusal(net, "tangent_labels", data())


@pytest.mark.parametrize("memory", [None, 20_000])
def test_the_kernel_between_samples_is_the_mean_over_outputs(memory):
    net, (x, _) = mlp(), data()
    G = gradients(net, x)
    want = torch.einsum("ncp,mcp->nm", G, G) / 3
    torch.testing.assert_close(output_mean_kernel(net, x, memory=memory), want)


def test_alignments_are_those_of_the_explicit_kernels():
    net, other, (x, y) = mlp(), drawn(nn.Linear(5, 9), nn.Sigmoid(), nn.Linear(9, 3)), data()
    K, L = ((g.flatten(1) @ g.flatten(1).mT) for g in (gradients(n, x) for n in (net, other)))
    H = torch.eye(12).double() - 1 / 12

    def by_definition(A, B):
        A, B = H @ A @ H, H @ B @ H
        return float((A * B).sum() / (A.norm() * B.norm()))

    parts = (x[:5], y[:5]), (x[5:], y[5:])
    assert number(net, "tangent_labels", *parts) == pytest.approx(by_definition(K, one_hot_kernel(y)))
    assert number(with_dense(net, other), "tangent_dense", *parts) == pytest.approx(by_definition(K, L))
    assert number(with_dense(net, mlp()), "tangent_dense", *parts) == pytest.approx(1)


def test_an_alignment_with_itself_is_one_whatever_the_scale():
    X, Y = draw(8, 3), draw(8, 3, seed=1)
    K, L = X @ X.mT, Y @ Y.mT
    assert alignment(K, K) == pytest.approx(1)
    assert alignment(K, 7 * K + 4) == pytest.approx(1)  # what is added to all is centred away
    assert alignment(3 * K, L) == pytest.approx(alignment(L, K))
    assert 0 <= alignment(K, L) < 1
    split = torch.tensor([1.0, 1, -1, -1]).double()
    other = torch.tensor([1.0, -1, 1, -1]).double()
    assert alignment(torch.outer(split, split), torch.outer(other, other)) == pytest.approx(0)
    with pytest.raises(IsopruneError, match="one of them gives all samples the same"):
        alignment(K, torch.ones(8, 8).double())


def test_a_linear_layer_on_its_classes_is_aligned_with_the_labels():
    y = torch.arange(9) % 3
    x = torch.eye(3).double()[y]
    assert number(nn.Linear(3, 2).double().eval(), "tangent_labels", (x, y)) == pytest.approx(1)


def test_labels_that_tell_nothing_are_refused():
    x, y = data()
    assert "all 12 samples are of one" in refusal(mlp(), "tangent_labels", (x, y * 0))
    assert "is no classification with one label a sample" in refusal(mlp(), "tangent_labels", (x, draw(12)))


def test_nothing_to_train_is_refused():
    assert "no trainable parameter" in refusal(mlp().requires_grad_(False), "tangent_kernel", data())
