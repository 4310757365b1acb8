"""The summary's numbers against closed forms, and at the edge of rounding."""

from __future__ import annotations

import json
import math

import pytest
import torch

from isoprune.isometry import summary
from isoprune.types import IsopruneError


def test_isometry_has_distance_zero_and_condition_one():
    ones, zeros = ("mean", "min", "max", "condition"), ("std", "log_spread", "below_1e3", "distance")
    assert summary(torch.ones(3, 5)) == dict.fromkeys(ones, 1) | dict.fromkeys(zeros, 0)


def test_numbers_by_hand():
    got = summary(torch.tensor([[4.0, 1.0], [2.0, 0.0005]], dtype=torch.float64))
    assert got["mean"] == pytest.approx(7.0005 / 4)
    assert got["std"] == pytest.approx(torch.tensor([4, 1, 2, 0.0005]).std(correction=0).item())
    assert got["condition"] == pytest.approx((4 + 4000) / 2)
    assert got["log_spread"] == pytest.approx((math.log10(4) + math.log10(4000)) / 4)
    assert got["below_1e3"] == 0.25
    assert got["distance"] == pytest.approx((9 + 0 + 1 + 0.9995**2) / 4)


def test_scaling_moves_the_mean_and_leaves_condition_and_spread():
    sigma = torch.rand(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    a, b = summary(sigma), summary(1e-5 * sigma)
    assert b["mean"] == pytest.approx(1e-5 * a["mean"])
    assert (b["condition"], b["log_spread"]) == pytest.approx((a["condition"], a["log_spread"]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_singular_and_dead_networks_stay_finite_and_are_valid_json(dtype):
    eps = torch.finfo(dtype).eps
    singular = summary(torch.tensor([[2.0, 0.0]], dtype=dtype))
    assert singular["condition"] == pytest.approx(1 / eps)
    assert singular["log_spread"] == pytest.approx(-math.log10(eps) / 2)
    dead = summary(torch.zeros(2, 3, dtype=dtype))
    assert (dead["condition"], dead["log_spread"], dead["below_1e3"]) == (pytest.approx(1 / eps), 0, 1)
    json.dumps([singular, dead], allow_nan=False)


@pytest.mark.parametrize(
    "bad", [torch.zeros(0, 3), torch.tensor([[1.0, -1.0]]), torch.tensor([[float("nan")]])]
)
def test_what_cannot_be_singular_values_is_refused(bad):
    with pytest.raises(IsopruneError, match="must hold singular values"):
        summary(bad)
