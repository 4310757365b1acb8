"""Every schedule against its formula, written out slowly, on a fine grid in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoprune.methods.schedules import (
    build,
    constant,
    cosine,
    cyclical,
    halving,
    linear,
    lr_rewinding,
    sgdr,
    step_decay,
    warm_up,
)
from methods.schedules.against_torch import changes, ours

GRID = np.linspace(0.0, 1.0, 5003)


def on_grid(schedule) -> np.ndarray:
    return np.array([schedule(float(p)) for p in GRID])


@pytest.mark.parametrize("floor", [0.0, 1e-3, 1.0])
def test_cosine_and_linear(floor):
    np.testing.assert_allclose(
        on_grid(cosine(floor=floor)), floor + (1 - floor) * (1 + np.cos(np.pi * GRID)) / 2, atol=1e-15
    )
    np.testing.assert_allclose(on_grid(linear(floor=floor)), 1 - (1 - floor) * GRID, atol=1e-15)
    for schedule in (cosine(floor=floor), linear(floor=floor)):
        assert schedule(0.0) == 1.0
        assert schedule(1.0) == floor


def test_one_cycle_of_sgdr_as_long_as_the_run_is_the_cosine():
    for length in (30, 1.0):
        np.testing.assert_array_equal(on_grid(sgdr(epochs=30, T_0=length)), on_grid(cosine()))


@pytest.mark.parametrize(("T_0", "T_mult"), [(0.125, 1), (0.1, 2), (0.05, 1.5), (1 / 3, 1)])
def test_sgdr_is_a_cosine_of_the_time_since_the_last_restart(T_0, T_mult):
    """T_cur and T_i of the paper, found by walking from restart to restart."""
    want = []
    for p in GRID:
        since, length = float(p), T_0
        while since >= length:
            since, length = since - length, length * T_mult
        want.append(0.01 + 0.99 * (1 + math.cos(math.pi * since / length)) / 2)
    got = on_grid(sgdr(epochs=7, T_0=T_0, T_mult=T_mult, floor=0.01))
    # Just at a restart, rounding may put a point on its other side.
    jumps = np.abs(got - want) > 1e-9
    assert jumps.sum() <= 3
    assert all(abs(abs(g - w) - 0.99) < 1e-6 for g, w in zip(got[jumps], np.array(want)[jumps], strict=True))


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 3), st.integers(1, 97), st.integers(1, 9))
def test_restarts_are_met_at_the_first_step_of_their_epoch(T_0, T_mult, steps, cycles):
    """Not one step late, whatever the numbers of epochs and steps."""
    lengths = [T_0 * T_mult**i for i in range(cycles)]
    epochs = min(sum(lengths), 300)
    if epochs < T_0:
        return
    schedule = sgdr(epochs=epochs, T_0=T_0, T_mult=T_mult, floor=0.5)
    starts = {sum(lengths[:i]) for i in range(cycles)}
    for epoch in range(epochs):
        first = schedule((epoch * steps) / (epochs * steps))
        assert (first == 1.0) == (epoch in starts)
        if epoch in starts - {0}:
            before = schedule((epoch * steps - 1) / (epochs * steps))
            assert before < 1.0 or T_0 * steps == 1


@pytest.mark.parametrize("decay", [1.0, 0.5, 0.9])
@pytest.mark.parametrize("half", [0.05, 0.2, 1.0])
def test_cyclical_is_smiths_triangle(half, decay):
    cycle = np.floor(1 + GRID / (2 * half))
    x = np.abs(GRID / half - 2 * cycle + 1)
    want = 0.1 + 0.9 * np.maximum(0, 1 - x) * decay ** (cycle - 1)
    got = on_grid(cyclical(epochs=9, step_size=half, base=0.1, decay=decay))
    np.testing.assert_allclose(got, want, atol=1e-12)


def test_cyclical_lengths_in_epochs_and_in_parts_agree():
    assert cyclical(epochs=20, step_size=5) == cyclical(epochs=20, step_size=0.25)


@pytest.mark.parametrize("curve", ["linear", "cosine"])
@pytest.mark.parametrize("rise", [0.2, 6])
def test_warm_up_rises_and_then_runs_the_whole_of_its_schedule_in_what_is_left(curve, rise):
    got = on_grid(warm_up(epochs=30, schedule=cosine(floor=0.1), rise=rise, start=0.05, curve=curve))
    part = np.minimum(GRID / 0.2, 1.0)
    up = 0.05 + 0.95 * (part if curve == "linear" else (1 - np.cos(np.pi * part)) / 2)
    rest = np.maximum(0.0, (GRID - 0.2) / 0.8)
    np.testing.assert_allclose(got, up * (0.1 + 0.9 * (1 + np.cos(np.pi * rest)) / 2), atol=1e-12)


def test_warm_up_over_the_whole_run_leaves_the_milestones_where_they_are():
    steps = {"name": "step_decay", "milestones": [30, 60, 80]}
    schedule = build("warm_up", epochs=90, schedule=steps, rise=5, start=0.1, over="whole")
    plain = step_decay(epochs=90, milestones=[30, 60, 80])
    got, want = (ours(s, epochs=90, steps=4) for s in (schedule, plain))
    assert got[5 * 4 :] == want[5 * 4 :]
    assert got[: 5 * 4] == pytest.approx([0.1 + 0.9 * i / 20 for i in range(20)])


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(3, 90), st.integers(1, 211))
def test_milestones_after_a_warm_up_are_met_at_the_first_step_of_their_epoch(rise, rest, steps):
    milestone = rest // 2
    inner = {"name": "step_decay", "milestones": [milestone]}
    schedule = build("warm_up", epochs=rise + rest, schedule=inner, rise=rise)
    at = (rise + milestone) * steps
    total = (rise + rest) * steps
    assert schedule(at / total) == 0.1
    assert schedule((at - 1) / total) == (1.0 if milestone else pytest.approx(1.0, abs=1))
    assert schedule((rise * steps) / total) == 1.0


def test_a_warm_up_in_parts_of_the_run_leaves_epochs_that_need_not_be_whole():
    """2.5 of 25 epochs rise: the milestone comes 10 epochs after that."""
    inner = {"name": "step_decay", "milestones": [10]}
    schedule = build("warm_up", epochs=25, schedule=inner, rise=0.1)
    rates = ours(schedule, epochs=25, steps=4)
    assert [i for i in range(10, 100) if rates[i] != rates[i - 1]][-1] == 4 * 12.5


def test_a_warm_up_takes_a_schedule_a_function_or_a_name():
    ready = warm_up(epochs=30, schedule=step_decay(epochs=25, milestones=[10]), rise=5)
    inner = {"name": "step_decay", "milestones": [10]}
    assert ready == build("warm_up", epochs=30, schedule=inner, rise=5)
    for same in (constant, constant(), "constant"):
        assert build("warm_up", epochs=30, schedule=same, rise=5) == warm_up(
            epochs=30, schedule=constant, rise=5
        )


@settings(deadline=None)
@given(st.integers(1, 120), st.integers(0, 80), st.integers(1, 50))
def test_lr_rewinding_is_the_dense_training_from_that_step_on(epochs, before, steps):
    """The very rates that the dense training had at its last steps, drops at their steps included."""
    dense_epochs = before + epochs
    if dense_epochs < 3:
        return
    dense = step_decay(epochs=dense_epochs, milestones=[dense_epochs // 3, 2 * dense_epochs // 3])
    replay = lr_rewinding(epochs=epochs, dense_epochs=dense_epochs, schedule=dense)
    rates = ours(dense, epochs=dense_epochs, steps=steps)
    assert ours(replay, epochs=epochs, steps=steps) == rates[before * steps :]


@pytest.mark.parametrize("name", ["cosine", "linear", "one_cycle", "clr"])
def test_lr_rewinding_replays_smooth_schedules_too(name):
    dense = build(name, epochs=50)
    replay = lr_rewinding(epochs=20, dense_epochs=50, schedule=dense)
    np.testing.assert_allclose(on_grid(replay), [dense(0.6 + 0.4 * float(p)) for p in GRID], atol=1e-12)


def test_lr_rewinding_takes_milestones_or_the_schedule_that_they_make():
    by_milestones = lr_rewinding(epochs=40, dense_epochs=90, milestones=[30, 60], gamma=0.2)
    dense = step_decay(epochs=90, milestones=[30, 60], gamma=0.2)
    assert by_milestones == lr_rewinding(epochs=40, dense_epochs=90, schedule=dense)
    assert list(changes(by_milestones, 40)) == [0, 10]


def test_schedules_nest_without_end():
    inner = {"name": "warm_up", "rise": 2, "schedule": {"name": "halving", "stages": 3}}
    schedule = build("lr_rewinding", epochs=10, dense_epochs=18, schedule=inner)
    want = ours(halving(epochs=16, stages=3), epochs=16, steps=3)
    assert ours(schedule, epochs=10, steps=3) == want[6 * 3 :]
