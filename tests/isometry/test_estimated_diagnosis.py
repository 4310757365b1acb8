"""A diagnosis of many outputs: estimated, with an error bar that is told and taken into the verdict."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from isoprune.isometry import diagnose, jacobian_singular_values, thresholds, with_repairs, words
from isoprune.isometry.effort import Effort
from isoprune.types import IsopruneError

BUDGET = 1.0  # multiply-adds: nothing is exact that can be estimated


def wide(scale=1.0, outputs=200):
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Linear(220, 210), nn.ReLU(), nn.Linear(210, outputs)).double().eval()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64) / p.shape[-1] ** 0.5)
        net[2].weight *= scale
    return net


def batches(samples=4):
    x = torch.randn(samples, 220, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [(x, torch.zeros(samples))]


def test_error_bar_holds_the_exact_mean_and_the_words_say_how_it_was_measured():
    dense, pruned = wide(), wide(0.3)
    found = diagnose(pruned, batches(), dense, samples=4, budget=BUDGET)
    exact = diagnose(pruned, batches(), dense, samples=4, budget=math.inf)
    assert (found.effort.method, exact.effort.method) == ("estimate", "exact")
    numbers, want = found.numbers, exact.numbers
    for key in ("jsv_mean", "dense_jsv_mean"):
        assert abs(numbers[key] - want[key]) <= 1.5 * numbers[f"{key}_error"]
        assert 0 < numbers[f"{key}_error"] < 0.1 * numbers[key]
    # Both networks see the same directions, and one is 0.3 times the other.
    assert numbers["jsv_ratio"] == pytest.approx(0.3, rel=1e-6)
    assert want["jsv_max"] - numbers["jsv_max"] <= numbers["jsv_max_error"]
    assert found.verdict == exact.verdict == "damaged"
    assert " ± " in found.sentences[0]
    assert found.sentences[-1].startswith("Estimated on 4 samples: exactly, a sample's 200 singular values")
    assert "19 times of 20" in found.sentences[-1]
    assert exact.sentences[-1] == "Exact: all 200 singular values of 4 samples."


def test_only_exact_networks_have_singular_values_to_show():
    found = diagnose(wide(), batches(), wide(), budget=BUDGET)
    assert found.sigma == {}
    exact = diagnose(wide(0.3), batches(), wide(), budget=math.inf)
    assert list(exact.sigma) == ["", "dense"]
    torch.testing.assert_close(exact.sigma["dense"], jacobian_singular_values(wide(), batches()[0][0]))


def test_seed_fixes_the_estimate():
    first, again, other = (diagnose(wide(), batches(), budget=BUDGET, seed=s).numbers for s in (3, 3, 4))
    assert first == again
    assert first["jsv_mean"] != other["jsv_mean"]


@pytest.mark.parametrize(
    ("ratio", "error", "verdict", "others"),
    [
        (0.6, 0.05, "healthy", ()),
        (0.6, 0.15, "healthy", ("damaged",)),
        (0.11, 0.02, "damaged", ("collapsed",)),
        (0.3, 0.25, "damaged", ("collapsed", "healthy")),
    ],
)
def test_a_verdict_that_the_error_bar_does_not_settle_says_so(ratio, error, verdict, others):
    assert (thresholds.DAMAGED_RATIO, thresholds.COLLAPSED_RATIO) == (0.5, 0.1)
    numbers = {"jsv_ratio": ratio, "jsv_ratio_error": error}
    assert words.verdict_of(numbers) == verdict
    numbers |= {"jsv_mean": ratio, "dense_jsv_mean": 1.0, "dead_filters": 0.0}
    _, said = words.verdict_with_reasons(numbers, [], Effort("exact", 1, 10, 1.0, 1.0))
    doubt = [sentence for sentence in said if sentence.startswith("Within its error bar")]
    assert bool(doubt) == bool(others)
    assert all(f" {other}" in doubt[0] for other in others)


def test_network_without_second_derivatives_names_the_way_out():
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(_ctx, x):
            return x * 2

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(_ctx, g):
            return g * 2

    class Net(nn.Module):
        def forward(self, x):
            return Once.apply(x)

    with pytest.raises(IsopruneError, match=r"J v needs second derivatives.*budget=math.inf.*--exact"):
        diagnose(Net().eval(), batches(), budget=BUDGET)
    assert diagnose(Net().eval(), batches(), budget=math.inf).numbers["jsv_mean"] == pytest.approx(2)


def test_repairs_are_measured_as_the_network_was_and_what_fails_is_listed():
    pruned = wide(0.3)
    nan = copy.deepcopy(pruned)
    nan[0].weight.data[0, 0] = float("nan")
    tried = iter([("doubled", wide(0.6)), ("refusing", "It does not apply here."), ("broken", nan)])
    found = diagnose(pruned, batches(), wide(), budget=BUDGET, repaired=tried)
    assert found.repairs == ("doubled",)
    # The same directions: twice the network, twice the estimate.
    assert found.numbers["doubled_jsv_mean"] == pytest.approx(2 * found.numbers["jsv_mean"], rel=1e-6)
    assert found.sentences[-1].startswith("Repair doubled brings the mean to")
    assert found.refused["refusing"] == "It does not apply here."
    assert "NaN" in found.refused["broken"]
    more = with_repairs(found, {"tripled": wide(0.9)}, batches())
    assert more.repairs == ("doubled", "tripled")
    assert more.sentences[:-1] == found.sentences
