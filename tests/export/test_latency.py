"""Times are medians of runs that take turns, and every sentence follows from them."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from torch import nn

import isoprune
from isoprune.export import latency
from isoprune.export.latency import Timing, _verdicts, quartiles, take_turns
from isoprune.export.proof_text import odd_widths
from isoprune.types import IsopruneError

from .networks import Convolutions, Untranslatable, bits, images, seeded


class Clock:
    """A clock that the calls move on themselves, so that times are exact."""

    def __init__(self):
        self.now, self.log = 0.0, []

    def call(self, name, seconds):
        durations = iter(seconds)

        def run():
            self.log.append(name)
            self.now += next(durations)

        return run


def test_runs_take_turns_and_warm_up_is_not_timed():
    clock = Clock()
    calls = {"a": clock.call("a", [9.0, 1.0, 2.0, 3.0]), "b": clock.call("b", [8.0, 4.0, 5.0, 6.0])}
    times = take_turns(calls, runs=3, warm_up=1, seconds=100, clock=lambda: clock.now)
    assert times == {"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0]}
    assert clock.log == ["a", "b"] * 4


def test_a_machine_that_slows_down_changes_no_gain():
    """Both networks' times double half-way: medians of blocks would differ, medians of turns do not."""
    clock = Clock()
    slow = [1.0] * 10 + [2.0] * 10
    calls = {"a": clock.call("a", [4 * s for s in slow]), "b": clock.call("b", slow)}
    times = take_turns(calls, runs=20, warm_up=0, seconds=1000, clock=lambda: clock.now)
    assert quartiles(times["a"])[1] / quartiles(times["b"])[1] == 4


def test_timing_stops_when_the_time_is_up_but_not_before_five_runs():
    for limit, runs in ((0, 5), (25, 7), (1e9, 20)):
        clock = Clock()
        calls = {"a": clock.call("a", [3.0] * 20), "b": clock.call("b", [1.0] * 20)}
        times = take_turns(calls, runs=20, warm_up=0, seconds=limit, clock=lambda c=clock: c.now)
        assert len(times["a"]) == len(times["b"]) == runs


@pytest.mark.parametrize("n", [2, 3, 4, 5, 30])
def test_quartiles_enclose_the_median_and_ignore_order(n):
    times = torch.rand(n, generator=torch.Generator().manual_seed(n)).tolist()
    lower, median, upper = quartiles(times)
    assert median == pytest.approx(statistics.median(times))
    assert min(times) <= lower <= median <= upper <= max(times)
    assert (lower, median, upper) == quartiles(sorted(times))
    assert quartiles([0.5]) == (0.5, 0.5, 0.5)


def dense_and_pruned(**options):
    dense = seeded(lambda: Convolutions(width=64))
    return dense, isoprune.prune(dense, images(), 0.5, **options)


@pytest.mark.matrix
def test_the_report_counts_what_the_costs_count_and_times_every_backend():
    dense, result = dense_and_pruned()
    before = bits(dense)
    seen: list[str] = []
    threads = torch.get_num_threads()
    report = latency(
        {"dense": dense, "pruned": result.model},
        images(),
        backends=("eager", "onnxruntime"),
        runs=6,
        on_backend=seen.append,
    )
    assert seen == ["eager", "onnxruntime"]
    costs = {"dense": result.costs.dense, "pruned": result.costs.pruned}
    work = {name: cost.flops for name, cost in costs.items()}
    assert report.flops == work
    assert report.parameters == {name: cost.parameters for name, cost in costs.items()}
    assert report.flops_gain == {"dense": 1.0, "pruned": work["dense"] / work["pruned"]}
    rows = report.as_rows()
    assert [(r["model"], r["backend"]) for r in rows] == [
        (m, b) for b in ("eager", "onnxruntime") for m in ("dense", "pruned")
    ]
    for row in rows:
        assert row["runs"] == 6
        assert 0 < row["lower_ms"] <= row["median_ms"] <= row["upper_ms"]
        assert row["of_flops_gain"] == pytest.approx(row["gain"] / row["flops_gain"])
    for backend in seen:
        assert report.gain("dense", backend) == 1
    assert len([s for s in report.sentences if "times fewer multiply-adds" in s]) == 2
    assert torch.get_num_threads() == threads
    assert bits(dense) == before


def test_torch_compile_is_timed():
    model = nn.Sequential(nn.Linear(4, 4))
    report = latency({"a": model}, torch.randn(2, 4), backends=("compile",), runs=5)
    assert report.timings[0].problem == ""
    assert report.timings[0].median > 0


def verdict(gain: float, flops: float) -> str:
    timings = [
        Timing("dense", "eager", 1.0, 1.0, 1.0, 9, 1.0),
        Timing("small", "eager", 1.0, 1.0, 1.0, 9, gain),
    ]
    (sentence,) = _verdicts(timings, {"dense": 1.0, "small": flops})
    return sentence


def test_smaller_but_not_faster_is_said():
    assert "4.00 times fewer multiply-adds than dense and is not faster on eager (1.01 times)" in verdict(
        1.01, 4.0
    )
    assert "is not faster on eager (0.50 times): smaller but not faster" in verdict(0.5, 4.0)
    assert "is 3.00 times faster on eager: 75% of that gain" in verdict(3.0, 4.0)


def test_odd_widths_are_said_unless_the_dense_network_has_them_too():
    dense, result = dense_and_pruned()
    assert odd_widths(dense) == {"head": 5}
    odd = isoprune.prune(dense, images(), 0.55).model
    assert odd_widths(odd) == {"stem": 28, "each": 28, "head": 5}
    for model, said in ((odd, True), (result.model, False)):
        report = latency({"dense": dense, "pruned": model}, images(), backends=("eager",), runs=1)
        assert (
            "pruned has 2 layers whose width is not a multiple of 8 (stem 28, each 28)" in str(report)
        ) == said
        assert ("round_to=8" in str(report)) == said


def test_a_backend_that_cannot_run_a_network_is_reported_with_its_reason():
    x = torch.randn(3, 3)
    report = latency({"odd": Untranslatable()}, x, backends=("eager", "onnxruntime"), runs=1)
    eager, other = report.timings
    assert not eager.problem
    assert "linalg_eig" in other.problem
    assert math.isnan(other.median)
    assert math.isnan(other.gain)
    assert any("odd does not run on onnxruntime: " in s for s in report.sentences)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"backends": ["egaer"]}, "Unknown backend 'egaer'. Did you mean 'eager'?"),
        ({"backends": []}, "Nothing to time: 1 networks on 0 backends"),
        ({"threads": 0}, "0 threads cannot run a network"),
        ({"runs": 0}, "0 runs"),
    ],
)
def test_bad_options(options, problem):
    with pytest.raises(IsopruneError) as error:
        latency({"a": nn.Linear(2, 2)}, torch.randn(1, 2), **options)
    assert problem in str(error.value)
    assert "\n" not in str(error.value)
