"""Which measurement a network gets: counted costs, and the choice that follows from them."""

from __future__ import annotations

import math

import pytest
import torch
from isometry_networks import Language, make
from torch import nn

from isoprune.isometry import plan_effort
from isoprune.isometry.estimate import products_of
from isoprune.types import IsopruneError


def wide(outputs=400, inputs=300):
    return nn.Sequential(nn.Linear(inputs, 20), nn.ReLU(), nn.Linear(20, outputs)).eval()


def test_costs_are_those_of_counting():
    model, x = wide(), torch.randn(5, 300)
    forward = 300 * 20 + 20 * 400
    effort = plan_effort(model, x)
    assert effort.exact == 400 * forward + 300**2 * 400
    assert effort.estimate == products_of() * forward
    assert (effort.samples, effort.values) == (5, 300)


def test_a_convolution_is_counted_by_its_output_size():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.Flatten()).eval()
    assert plan_effort(model, torch.randn(1, 3, 8, 8)).estimate == products_of() * 64 * 4 * 3 * 9


def test_exact_within_the_budget_and_estimated_beyond_it():
    model, x = wide(), torch.randn(50, 300)
    each = plan_effort(model, x).exact
    assert plan_effort(model, x, samples=10, budget=10 * each).method == "exact"
    assert plan_effort(model, x, samples=10, budget=10 * each - 1).method == "estimate"
    assert plan_effort(model, x, budget=math.inf).method == "exact"


def test_samples_asked_for_are_taken_and_others_fit_the_budget():
    model, x = wide(), torch.randn(50, 300)
    estimate = plan_effort(model, x).estimate
    for budget, samples in ((7.5 * estimate, 7), (0.1 * estimate, 1), (1e18, 50)):
        assert plan_effort(model, x, budget=budget).samples == samples
        assert plan_effort(model, x, budget=budget, samples=20).samples == 20


def test_few_values_are_exact_whatever_they_cost():
    model, x = make("lenet", samples=5)
    effort = plan_effort(model, x, budget=1)
    assert (effort.method, effort.samples) == ("exact", 1)


def test_jacobian_that_does_not_fit_into_memory_is_estimated():
    model, x = wide(), torch.randn(2, 300)
    assert plan_effort(model, x, memory=3 * 400 * 300 * 4).method == "exact"
    assert plan_effort(model, x, memory=3 * 400 * 300 * 4 - 1).method == "estimate"


def test_what_torch_does_not_count_costs_one_multiply_add_a_weight_or_input():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3, 7))

        def forward(self, x):
            return x * self.scale.sum(0)

    assert plan_effort(Recurrent().eval(), torch.randn(2, 7)).estimate == products_of() * 21


def test_integers_go_in_by_an_embedding_and_errors_come_through():
    torch.manual_seed(0)
    words = torch.randint(11, (2, 4))
    effort = plan_effort(Language().eval(), words, input="embed", output="logits")
    assert effort.values == 4 * 6
    with pytest.raises(IsopruneError, match="no derivative"):
        plan_effort(Language().eval(), words, output="logits")
