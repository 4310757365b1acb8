"""Muon: its direction against the SVD, what changes nothing, and where it comes to rest."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, nn

from isoprune.linalg import haar_matrix, nearly_orthogonal
from isoprune.training import Muon
from isoprune.types import IsopruneError


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=Generator().manual_seed(seed), dtype=dtype)


def stepped(weight, *gradients, lr=0.1):
    weight = nn.Parameter(weight.clone())
    optimizer = Muon([weight], lr=lr)
    for gradient in gradients:
        weight.grad = gradient
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (4, 9), (9, 4), (6, 6)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_singular_vectors_stay_and_singular_values_go_through_the_polynomial(shape, dtype):
    matrix = drawn(*shape, dtype=dtype)
    U, sigma, Vh = torch.linalg.svd(matrix, full_matrices=False)
    sigma = sigma / sigma.norm()
    for _ in range(5):
        sigma = 3.4445 * sigma - 4.7750 * sigma**3 + 2.0315 * sigma**5
    torch.testing.assert_close(nearly_orthogonal(matrix), (U * sigma) @ Vh)


def test_singular_values_end_near_one_from_far_below_the_largest():
    sigma = torch.logspace(-2.6, 0, 30, dtype=torch.float64)
    U = haar_matrix(30, 30, generator=Generator().manual_seed(1)).double()
    got = torch.linalg.svdvals(nearly_orthogonal(U * (sigma / sigma.norm()).clamp_min(2e-3)))
    assert got.min() > 0.68
    assert got.max() < 1.21


def test_a_first_step_is_known_in_closed_form_for_a_bias():
    gradient = drawn(5)
    x = 1.0
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * x**3 + 2.0315 * x**5
    want = -0.1 * 5**0.5 * x * gradient / gradient.norm()
    torch.testing.assert_close(stepped(torch.zeros(5, dtype=torch.float64), gradient), want)


@pytest.mark.parametrize("shape", [(), (5,), (4, 9), (300, 3), (6, 2, 3, 3)])
def test_the_size_of_gradients_changes_no_step(shape):
    weight, first, second = (drawn(*shape, seed=i) for i in range(3))
    torch.testing.assert_close(stepped(weight, 1e4 * first, 1e4 * second), stepped(weight, first, second))


def test_steps_turn_with_inputs_and_outputs():
    weight, first, second = (drawn(6, 9, seed=i) for i in range(3))
    P, Q = (haar_matrix(n, n, generator=Generator().manual_seed(n)).double() for n in (6, 9))
    turned = stepped(*(P @ t @ Q for t in (weight, first, second)))
    torch.testing.assert_close(turned, P @ stepped(weight, first, second) @ Q)


def test_a_kernel_steps_as_its_matrix_and_many_rows_as_several_matrices():
    kernel, gradient = drawn(6, 2, 3, 3), drawn(6, 2, 3, 3, seed=1)
    torch.testing.assert_close(
        stepped(kernel, gradient).flatten(1), stepped(kernel.flatten(1), gradient.flatten(1))
    )
    weight, gradient = drawn(256, 40), drawn(256, 40, seed=1)
    halves = zip(weight.split(128), gradient.split(128), strict=True)
    torch.testing.assert_close(stepped(weight, gradient), torch.cat([stepped(*half) for half in halves]))


def test_what_has_no_gradient_or_a_zero_one_stays():
    weight = drawn(4, 9)
    assert torch.equal(stepped(weight, None), weight)
    assert torch.equal(stepped(weight, torch.zeros_like(weight)), weight)
    assert stepped(drawn(0, 3), drawn(0, 3)).shape == (0, 3)


def test_a_badly_scaled_regression_is_solved_where_the_rate_falls_to_zero():
    """Inputs a hundred times apart in size: after 400 steps a twentieth is left at most."""
    x = drawn(64, 8) * torch.logspace(-2, 0, 8, dtype=torch.float64)
    goal = drawn(5, 8, seed=1)
    weight = nn.Parameter(torch.zeros(5, 8, dtype=torch.float64))
    optimizer = Muon([weight], lr=0.2)
    for step in range(400):
        optimizer.param_groups[0]["lr"] = 0.2 * (1 - step / 400)
        loss = (x @ (weight - goal).mT).square().sum()
        (weight.grad,) = torch.autograd.grad(loss, weight)
        optimizer.step()
    assert (weight - goal).norm() < 0.05 * goal.norm()


@pytest.mark.parametrize("wrong", [{"lr": -1.0}, {"momentum": 1.0}, {"lr": float("nan")}])
def test_a_rate_or_a_momentum_that_no_step_can_have_is_refused(wrong):
    with pytest.raises(IsopruneError, match=f"{next(iter(wrong))} = .*give a rate of 0 or more"):
        Muon([nn.Parameter(drawn(3))], **wrong)
