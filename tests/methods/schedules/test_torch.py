"""Against torch.optim.lr_scheduler, where torch has the same schedule, at every step."""

from __future__ import annotations

import pytest
from torch.optim import lr_scheduler as torch_schedules

from isoprune.methods.schedules import (
    clr,
    constant,
    cosine,
    cyclical,
    linear,
    one_cycle,
    sgdr,
    slr,
    step_decay,
    warm_up,
)
from methods.schedules.against_torch import ours, torchs

STEPS = 7
close = {"rel": 1e-9, "abs": 1e-12}


@pytest.mark.parametrize("floor", [0.0, 1e-3, 0.3])
@pytest.mark.parametrize("epochs", [1, 3, 30])
def test_cosine(floor, epochs):
    total = epochs * STEPS
    want = torchs(lambda o: torch_schedules.CosineAnnealingLR(o, total, eta_min=floor), total)
    assert ours(cosine(floor=floor), epochs=epochs, steps=STEPS) == pytest.approx(want, **close)


@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_linear(floor):
    def make(optimizer):
        return torch_schedules.LinearLR(optimizer, start_factor=1.0, end_factor=floor, total_iters=70)

    assert ours(linear(floor=floor), epochs=10, steps=STEPS) == pytest.approx(torchs(make, 70), **close)


@pytest.mark.parametrize(
    ("epochs", "T_0", "T_mult"), [(30, 10, 1), (70, 10, 2), (49, 7, 1), (25, 1, 3), (50, 8, 2)]
)
def test_sgdr(epochs, T_0, T_mult):
    """In steps, so that torch counts restarts in whole numbers."""

    def make(optimizer):
        return torch_schedules.CosineAnnealingWarmRestarts(optimizer, T_0 * STEPS, T_mult, eta_min=0.01)

    got = ours(sgdr(epochs=epochs, T_0=T_0, T_mult=T_mult, floor=0.01), epochs=epochs, steps=STEPS)
    assert got == pytest.approx(torchs(make, epochs * STEPS), **close)


@pytest.mark.parametrize(("mode", "decay"), [("triangular", 1.0), ("triangular2", 0.5)])
@pytest.mark.parametrize("step_size", [1, 3, 5])
def test_cyclical(mode, decay, step_size):
    def make(optimizer):
        size = step_size * STEPS
        return torch_schedules.CyclicLR(
            optimizer, 0.2, 1.0, step_size_up=size, mode=mode, cycle_momentum=False
        )

    got = ours(cyclical(epochs=31, step_size=step_size, base=0.2, decay=decay), epochs=31, steps=STEPS)
    assert got == pytest.approx(torchs(make, 31 * STEPS), **close)


@pytest.mark.parametrize(("schedule", "rise", "div", "final_div"), [
    (one_cycle(rise=0.25, start=0.04, end=0.04 * 1e-4), 0.25, 25.0, 1e4),
    (clr(), 0.1, 100.0, 100.0),
    (clr(rise=0.4, div=10.0, final_div=5.0), 0.4, 10.0, 5.0),
])  # fmt: skip
def test_one_cycle_and_clr(schedule, rise, div, final_div):
    """Torch puts peak and end on its steps; ours, a function of progress, has them at its own places."""
    total = 400

    def make(optimizer):
        return torch_schedules.OneCycleLR(
            optimizer, 1.0, total_steps=total, pct_start=rise, div_factor=div, final_div_factor=final_div
        )

    want = torchs(make, total - 1)  # torch counts the making as a step
    peak = rise * total - 1
    for step, rate in enumerate(want):
        up = step <= peak
        progress = rise * step / peak if up else rise + (1 - rise) * (step - peak) / (total - 1 - peak)
        assert schedule(progress) == pytest.approx(rate, **close)


def test_step_decay():
    def make(optimizer):
        return torch_schedules.MultiStepLR(optimizer, [10 * STEPS, 20 * STEPS], gamma=0.1)

    want = torchs(make, 30 * STEPS)
    assert ours(step_decay(epochs=30, milestones=[10, 20]), epochs=30, steps=STEPS) == pytest.approx(
        want, **close
    )


@pytest.mark.parametrize("epochs", [40, 56, 72, 88, 104, 120, 136, 152])
def test_slr_after_its_rise_is_torchs_steps(epochs):
    rise = epochs // 10
    milestones = [int(0.45 * epochs) * STEPS, int(0.675 * epochs) * STEPS]
    want = torchs(
        lambda o: torch_schedules.MultiStepLR(o, milestones, gamma=0.1), (epochs - rise) * STEPS, lr=0.1
    )
    got = ours(slr(epochs=epochs), epochs=epochs, steps=STEPS, lr=0.1)
    assert got[rise * STEPS :] == pytest.approx(want, **close)


def test_linear_warm_up_is_torchs_and_then_what_follows():
    def make(optimizer):
        rise = torch_schedules.LinearLR(optimizer, start_factor=0.1, end_factor=1.0, total_iters=5 * STEPS)
        rest = torch_schedules.CosineAnnealingLR(optimizer, 25 * STEPS)
        return torch_schedules.SequentialLR(optimizer, [rise, rest], milestones=[5 * STEPS])

    schedule = warm_up(epochs=30, schedule=cosine, rise=5, start=0.1)
    assert ours(schedule, epochs=30, steps=STEPS) == pytest.approx(torchs(make, 30 * STEPS), **close)


def test_warm_up_over_the_whole_run_is_torchs_product():
    """ChainedScheduler multiplies, as Goyal et al. lower the first epochs of a schedule."""

    def make(optimizer):
        rise = torch_schedules.LinearLR(optimizer, start_factor=0.1, end_factor=1.0, total_iters=5 * STEPS)
        steps = torch_schedules.MultiStepLR(optimizer, [4 * STEPS, 20 * STEPS], gamma=0.1)
        return torch_schedules.ChainedScheduler([rise, steps])

    rest = step_decay(epochs=30, milestones=[4, 20])
    schedule = warm_up(epochs=30, schedule=rest, rise=5, start=0.1, over="whole")
    assert ours(schedule, epochs=30, steps=STEPS) == pytest.approx(torchs(make, 30 * STEPS), **close)


def test_constant():
    want = torchs(lambda o: torch_schedules.ConstantLR(o, factor=1.0), 21)
    assert ours(constant(), epochs=3, steps=STEPS) == want
