"""Pruning to a share of time: few networks are measured, and the one that comes back meets the target."""

from __future__ import annotations

import math
import random
import sys

import pytest
import torch
from torch import nn

import isoprune
from isoprune.export import prune_to_latency, share_of_time
from isoprune.export.target import paired_share
from isoprune.pruning import NothingRemoved
from isoprune.types import IsopruneError

from .networks import Convolutions, Untranslatable, images, seeded


@pytest.fixture(scope="module")
def dense():
    return seeded(lambda: Convolutions(width=64))


@pytest.fixture(scope="module")
def result(dense):
    return isoprune.prune(dense, images(), 0.5)


def searched(result, law, target, **options):
    """Search where a network of some ratio takes ``law(ratio)`` of the time; return what was tried too."""
    now, tried = [0.0], []

    def prune_at(ratio):
        now[0] = ratio
        return result

    def share_of(_):
        tried.append((now[0], law(now[0])))
        return tried[-1][1]

    _, ratio, share = prune_to_latency(prune_at, share_of, target, **options)
    assert (ratio, share) in tried
    assert share <= target
    assert ratio == min(r for r, s in tried if s <= target)
    return ratio, share, tried


@pytest.mark.parametrize("target", [0.1, 0.3, 0.5, 0.8, 0.95])
def test_where_time_goes_as_the_square_few_networks_are_enough(result, target):
    ratio, _, tried = searched(result, lambda r: (1 - r) ** 2, target)
    assert len(tried) <= 3
    assert 0 <= ratio - (1 - math.sqrt(target)) < 0.03


LAWS = {
    "root": lambda r: (1 - r) ** 0.5,
    "line": lambda r: 1 - r,
    "cube": lambda r: (1 - r) ** 3,
    "half of it stays": lambda r: 0.25 + 0.75 * (1 - r) ** 2,
    "steps": lambda r: math.ceil(16 * (1 - r) ** 2) / 16,
    "nothing until half": lambda r: min(1.0, 2 * (1 - r)),
}


@pytest.mark.parametrize("target", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_whatever_the_law_seven_networks_come_close(result, law, target):
    ratio, _, tried = searched(result, law, target)
    assert len(tried) <= 7
    # No ratio that is much smaller would have met the target, to the 3 % at which the search ends.
    assert law(ratio - (0.07 if law is LAWS["steps"] else 0.035)) > 0.97 * target


@pytest.mark.parametrize("seed", range(20))
def test_noise_never_yields_a_network_that_was_measured_too_slow(result, seed):
    noise = random.Random(seed)
    ratio, _, tried = searched(result, lambda r: (0.1 + 0.9 * (1 - r) ** 2) * noise.gauss(1, 0.05), 0.5)
    assert len(tried) <= 7
    assert abs((0.1 + 0.9 * (1 - ratio) ** 2) / 0.5 - 1) < 0.2


@pytest.mark.parametrize("measurements", [1, 2])
def test_the_last_try_is_the_highest_ratio(result, measurements):
    ratio, _, tried = searched(result, lambda r: 0.0 if r == 0.95 else 1.0, 0.5, measurements=measurements)
    assert (ratio, len(tried)) == (0.95, measurements)


def test_a_ratio_at_which_nothing_goes_is_the_dense_network(result):
    def prune_at(ratio):
        if ratio < 0.6:
            raise NothingRemoved("Nothing was removed.")
        return result

    _, ratio, share = prune_to_latency(prune_at, lambda _: 0.4, 0.5)
    assert 0.6 <= ratio < 0.7
    assert share == 0.4

    def never(ratio):
        raise NothingRemoved("Nothing was removed.")

    with pytest.raises(NothingRemoved):
        prune_to_latency(never, lambda _: 0.4, 0.5)


def test_a_target_that_cannot_be_met(result):
    with pytest.raises(
        IsopruneError, match=r"No ratio brings the time to 0.50 .* at ratio 0.95 it still takes 0.90"
    ):
        prune_to_latency(lambda _: result, lambda _: 0.9, 0.5)


@pytest.mark.parametrize("target", [0.0, 1.0, -1.0, 2.0, float("nan")])
def test_a_target_that_is_none(dense, target):
    with pytest.raises(IsopruneError, match="twice the speed"):
        isoprune.prune(dense, images(), latency=target)


class Turns:
    """Two calls on a clock of their own, whose times are given turn by turn."""

    def __init__(self, dense, small):
        self.now, self.done = 0.0, 0
        self.times = iter([t for pair in zip(dense, small, strict=True) for t in pair])

    def call(self):
        self.now += next(self.times)
        self.done += 1

    def share(self, **options):
        return paired_share(self.call, self.call, clock=lambda: self.now, **options)


def test_a_machine_that_slows_down_changes_no_share():
    """Turn by turn the small one takes a quarter, though the machine halves its speed again and again."""
    slow = [1.0, 1.0, *[2.0 ** (i // 3) for i in range(60)]]
    assert Turns([4 * s for s in slow], slow).share() == 0.25


def test_steady_times_end_early_and_noisy_ones_go_on():
    steady = Turns([2.0] * 62, [1.0] * 62)
    assert steady.share(seconds=1e9) == 0.5
    assert steady.done == 2 * (2 + 9)
    noise = random.Random(0)
    noisy = Turns([2.0] * 62, [noise.uniform(0.5, 1.5) for _ in range(62)])
    assert abs(noisy.share(seconds=1e9) - 0.5) < 0.1
    assert noisy.done == 2 * (2 + 60)
    late = Turns([2.0] * 62, [noise.uniform(0.5, 1.5) for _ in range(62)])
    late.share(seconds=40)
    assert 2 * (2 + 9) < late.done < 2 * (2 + 20)


@pytest.mark.matrix
@pytest.mark.parametrize("backend", ["eager", "onnxruntime"])
def test_a_networks_share_of_its_own_time_is_one(backend):
    dense = nn.Linear(1000, 500)
    share, on = share_of_time(dense, torch.randn(64, 1000), backend=backend)
    assert on == backend
    assert 0.5 < share(dense) < 2


@pytest.mark.matrix
def test_without_a_backend_it_is_onnxruntime_if_that_can_be(monkeypatch):
    assert share_of_time(nn.Linear(2, 2), torch.randn(1, 2))[1] == "onnxruntime"
    assert share_of_time(Untranslatable(), torch.randn(3, 3))[1] == "eager"
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # not installed
    assert share_of_time(nn.Linear(2, 2), torch.randn(1, 2))[1] == "eager"


def test_a_share_on_a_backend_that_does_not_run_it():
    with pytest.raises(IsopruneError, match=r"onnxruntime does not run Untranslatable: .* Measure on eager"):
        share_of_time(Untranslatable(), torch.randn(3, 3), backend="onnxruntime")
    with pytest.raises(IsopruneError, match=r"Unknown backend 'egaer'. Did you mean 'eager'\?"):
        share_of_time(nn.Linear(2, 2), torch.randn(1, 2), backend="egaer")


@pytest.mark.matrix
def test_the_verb_tells_what_was_asked_and_what_came_of_it():
    model = seeded(lambda: Convolutions(width=128))
    x = torch.randn(2, 3, 48, 48)
    result = isoprune.prune(model, x, latency=0.5, backend="eager", round_to=8)
    told = result.costs.latency
    assert (told["request"], told["backend"], told["threads"]) == (0.5, "eager", 1)
    assert 0 < told["share"] <= 0.5
    assert result.plan.request["latency"] == 0.5
    assert 0 < result.plan.request["ratio"] < 1
    assert result.costs.ratios["flops"] > 0
    assert result.proof.relative_error < 1e-4


def test_one_way_of_saying_how_much(dense):
    for asked, named in (({}, "none"), ({"ratio": 0.5, "latency": 0.5}, "ratio, latency")):
        with pytest.raises(
            IsopruneError, match=f"Give one of ratio, flops, parameters and latency; got {named}"
        ):
            isoprune.prune(dense, images(), **asked)
