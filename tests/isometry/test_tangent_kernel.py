"""The tangent kernel against closed forms and the definition."""

from __future__ import annotations

import copy

import pytest
import torch
from isometry_networks import NETWORKS, Language, make
from torch import nn

from isoprune.isometry import kernel_condition, tangent_kernel
from isoprune.types import IsopruneError

CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def linear(inputs=5, outputs=3):
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        return nn.Sequential(nn.Linear(inputs, outputs)).double().eval(), torch.randn(4, inputs).double()


def test_tangent_kernel_of_a_linear_layer_is_the_gram_of_its_inputs():
    model, x = linear()
    want = torch.kron(x @ x.mT + 1, torch.eye(3).double())  # + 1: the bias
    torch.testing.assert_close(tangent_kernel(model, x), want, **CLOSE)


@pytest.mark.parametrize("name", NETWORKS)
def test_tangent_kernel_is_that_of_the_definition_in_any_parts(name):
    model, x = make(name, samples=3)
    G = []
    for x_n in x:
        for y in model(x_n[None]).flatten():
            grads = torch.autograd.grad(y, list(model.parameters()), retain_graph=True)
            G.append(torch.cat([g.flatten() for g in grads]))
    G = torch.stack(G)
    largest = max(p.numel() for p in model.parameters())
    for memory in (None, 2 * len(G) * largest * 8):
        torch.testing.assert_close(tangent_kernel(model, x, memory=memory), G @ G.mT, rtol=1e-9, atol=1e-9)
    with pytest.raises(
        IsopruneError, match=r"gradients of one parameter of shape .*Raise memory, or pass fewer"
    ):
        tangent_kernel(model, x, memory=100)


def condition(model, x):
    return kernel_condition(tangent_kernel(model, x))


def test_condition_of_orthonormal_inputs_is_one_and_of_equal_ones_is_that_of_rounding():
    model = nn.Sequential(nn.Linear(4, 2, bias=False)).double().eval()
    assert condition(model, torch.eye(4).double()) == pytest.approx(1)
    assert condition(model, torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0])).double()) == pytest.approx(16)
    eps = torch.finfo(torch.float32).eps
    assert condition(model, torch.ones(2, 4).double()) == pytest.approx(1 / eps)
    model[0].weight.requires_grad_(True)
    dead = nn.Sequential(nn.Linear(4, 2), nn.ReLU()).eval()
    nn.init.constant_(dead[0].bias, -1e6)
    assert condition(dead, torch.randn(2, 4)) == pytest.approx(1 / eps)


def test_frozen_parameters_do_not_take_part_and_nothing_changes():
    model, x = make("residual", samples=2)
    model[0].weight.requires_grad_(False)
    before, rng = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    with_first = make("residual", samples=2)[0]
    assert tangent_kernel(model, x).trace() < tangent_kernel(with_first, x).trace()
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), before.values(), strict=True))
    assert torch.equal(torch.get_rng_state(), rng)
    with pytest.raises(IsopruneError, match=r"no trainable parameter. Call model.requires_grad_\(True\)"):
        tangent_kernel(model.requires_grad_(False), x)


def test_language_models_need_no_input_pick():
    model = Language().double().eval()
    words = torch.randint(11, (2, 3), generator=torch.Generator().manual_seed(0))
    theta = tangent_kernel(model, words, output=lambda out: out["logits"][:, -1])
    assert theta.shape == (22, 22)
    assert torch.linalg.eigvalsh(theta).min() > -1e-9


def test_train_mode_changes_nothing_and_nan_is_refused():
    model, x = linear()
    assert torch.equal(tangent_kernel(copy.deepcopy(model).train(), x), tangent_kernel(model.eval(), x))
    model[0].weight.data[0, 0] = float("nan")
    with pytest.raises(IsopruneError, match="tangent kernel holds NaN"):
        tangent_kernel(nn.Sequential(model[0], nn.Tanh(), model[0].__class__(3, 1).double()).eval(), x)
