"""Step decay, halving and one cycle; and what cannot be scheduled."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoprune.methods.schedules import build, constant, halving, halving_milestones, one_cycle, step_decay
from isoprune.types import IsopruneError
from methods.schedules.against_torch import per_epoch


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=11), st.integers(1, 60), st.data())
def test_halving_stages_fill_the_run_and_never_grow(odd, longest, data):
    epochs, stages = data.draw(st.integers(1, longest)), len(odd) + 1
    for more in odd:  # from the last stage back: half of what is left then, rounded up
        epochs += min(epochs + more, longest)
    milestones = halving_milestones(epochs=epochs, stages=stages, longest=longest)
    lengths = [b - a for a, b in pairwise([0, *milestones, epochs])]
    assert len(lengths) == stages
    assert all(length >= 1 for length in lengths)
    assert all(longest >= a >= b for a, b in pairwise([longest, *lengths]))
    # Every stage is half of what was left, or as long as a stage may be.
    for start, length in zip([0, *milestones], lengths[:-1], strict=False):
        assert length == longest or 2 * length - (epochs - start) in (0, 1)


@settings(deadline=None)
@given(st.data(), st.integers(2, 120), st.integers(1, 600))
def test_milestones_in_epochs_are_met_at_the_first_step_of_the_epoch(data, epochs, steps):
    milestones = sorted(data.draw(st.sets(st.integers(1, epochs - 1), max_size=4)))
    schedule = step_decay(epochs=epochs, milestones=milestones, gamma=0.5)
    for epoch in {0, *milestones, *(m - 1 for m in milestones), epochs - 1}:
        for step in {0, steps // 2, steps - 1}:
            passed = sum(m <= epoch for m in milestones)
            assert schedule((epoch * steps + step) / (epochs * steps)) == 0.5**passed


def test_milestones_as_parts_of_the_run_agree_with_epochs():
    parts = step_decay(epochs=30, milestones=[1 / 3, 2 / 3])
    assert parts == step_decay(epochs=30) == step_decay(epochs=30, milestones=[10, 20])
    assert per_epoch(parts, 30) == [1.0] * 10 + [0.1] * 10 + [0.1**2] * 10


def test_constant_is_one():
    assert per_epoch(constant(), 3) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("rise", [0.1, 0.25, 0.5])
def test_one_cycle_is_two_half_cosines_that_meet_at_the_peak(rise):
    schedule = one_cycle(rise=rise, start=0.04, end=1e-3)
    assert schedule(0.0) == pytest.approx(0.04)
    assert schedule(rise) == 1.0
    assert schedule(1.0) == pytest.approx(1e-3)
    for part in (0.0, 0.2, 0.5, 0.9):
        # A cosine is antisymmetric about the middle of its fall.
        assert schedule(rise * part) + schedule(rise * (1 - part)) == pytest.approx(1.04)
        fall = [schedule(rise + (1 - rise) * p) for p in (part, 1 - part)]
        assert sum(fall) == pytest.approx(1.001)
    middle = schedule(rise + (1 - rise) / 3)
    assert middle == pytest.approx(1e-3 + 0.999 * (1 + math.cos(math.pi / 3)) / 2)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: step_decay(epochs=10, milestones=[5, 5]), r"\[5, 5\] do not ascend within a run of 10"),
        (lambda: step_decay(epochs=10, milestones=[7, 5]), "do not ascend"),
        (lambda: step_decay(epochs=10, milestones=[0, 5]), "Give epochs from 1 to 9"),
        (lambda: step_decay(epochs=10, milestones=[5, 10]), "do not ascend within a run"),
        (lambda: step_decay(epochs=10, milestones=[0.5, 1.5]), "parts of the run between 0.0 and 1.0"),
        (lambda: step_decay(epochs=10, gamma=0.0), "gamma = 0.0, and a learning rate must stay positive"),
        (lambda: step_decay(epochs=0), "epochs = 0"),
        (lambda: halving(epochs=3, stages=4), "3 epochs are too few for 4 halving stages"),
        (lambda: halving(epochs=90, stages=2), "last of 2 stages would take 60 of 90 epochs, .* at most 30"),
        (lambda: halving(epochs=3, stages=0), "stages = 0"),
        (lambda: one_cycle(rise=1.0), "rise = 1.0; it is the part of the run that rises"),
        (lambda: one_cycle(start=0.0), "start = 0.0; it is a factor on the peak rate"),
        (lambda: one_cycle(end=2.0), "end = 2.0; it is a factor"),
        (lambda: build("step-decay", epochs=3), "Unknown schedule 'step-decay'. Did you mean 'step_decay'?"),
        (lambda: build("halving", epochs=3), "Schedule 'halving': missing .* 'stages'. Its options: stages"),
        (lambda: build("constant", epochs=3, gamma=0.5), "'constant': .*'gamma'. Its options: none"),
    ],
)
def test_what_cannot_be_scheduled_is_refused_in_words(make, why):
    with pytest.raises(IsopruneError, match=why):
        make()
