"""What the newer schedules refuse, each in one line that says what to do."""

from __future__ import annotations

import pytest

from isoprune.methods.schedules import (
    build,
    clr,
    constant,
    cosine,
    cyclical,
    linear,
    lr_rewinding,
    sgdr,
    slr,
    step_decay,
    warm_up,
)
from isoprune.methods.schedules.nested import made
from isoprune.types import IsopruneError

REFUSED = [
    (lambda: cosine(floor=-0.1), r"floor = -0\.1; it is a factor on the first learning rate, from 0 to 1"),
    (lambda: linear(floor=1.5), r"floor = 1\.5; it is a factor"),
    (
        lambda: sgdr(epochs=10, T_0=0),
        r"T_0 = 0 does not fit in a run of 10 epochs\. Give epochs from 1 to 10",
    ),
    (lambda: sgdr(epochs=10, T_0=11), r"T_0 = 11 does not fit in a run of 10 epochs"),
    (lambda: sgdr(epochs=10, T_0=1.5), r"or a part of the run above 0\.0 and at most 1\.0"),
    (lambda: sgdr(epochs=10, T_0=1, T_mult=0.5), r"T_mult = 0\.5; cycles keep their length \(1\) or grow"),
    (lambda: sgdr(epochs=10, T_0=1e-7), r"T_0 = 1e-07 makes more than 10000 cycles\. Raise T_0"),
    (lambda: sgdr(epochs=0, T_0=1), r"epochs = 0, and a schedule needs at least 1"),
    (lambda: cyclical(epochs=10, step_size=20), r"step_size = 20 does not fit in a run of 10 epochs"),
    (
        lambda: cyclical(epochs=10, step_size=2, base=0.0),
        r"base = 0\.0; it is a factor above 0 and at most 1",
    ),
    (lambda: cyclical(epochs=10, step_size=2, decay=2.0), r"decay = 2\.0; it is a factor"),
    (lambda: warm_up(epochs=10, schedule=constant, rise=0), r"rise = 0 does not fit in a run of 10 epochs"),
    (
        lambda: warm_up(epochs=10, schedule=constant, rise=10),
        r"rise = 10 of 10 epochs leaves none .* Lower it",
    ),
    (
        lambda: warm_up(epochs=10, schedule=constant, rise=1, start=0.0),
        r"start = 0\.0; it is a factor on the",
    ),
    (
        lambda: warm_up(epochs=9, schedule=constant, rise=1, curve="round"),
        r"Unknown curve 'round'\. Known: linear, c",
    ),
    (
        lambda: warm_up(epochs=9, schedule=constant, rise=1, over="all"),
        r"Unknown value of over 'all'\. Known: rest, whole",
    ),
    (
        lambda: build("warm_up", epochs=25, schedule={"name": "halving", "stages": 2}, rise=0.1),
        r"halving counts whole epochs, and here it gets 22\.5\. Give the warm-up before it in epochs",
    ),
    (
        lambda: build("warm_up", epochs=30, schedule={"name": "step_decay", "milestones": [28]}, rise=5),
        r"milestones = \[28\] do not ascend within a run of 25 epochs\. Give epochs from 1 to 24",
    ),
    (
        lambda: build("warm_up", epochs=9, schedule="cosin", rise=1),
        r"Unknown schedule 'cosin'\. Did you mean",
    ),
    (
        lambda: build("warm_up", epochs=9, schedule={"rise": 1}, rise=1),
        r"inside 'warm_up' has no name\. Give",
    ),
    (
        lambda: build("warm_up", epochs=9, schedule={"name": "cosine", "flor": 1}, rise=1),
        r"Schedule 'cosine': .*'flor'\. Its options: floor",
    ),
    (
        lambda: lr_rewinding(epochs=9, dense_epochs=8, milestones=[4]),
        r"lr_rewinding replays had 8\. Retrain for 8",
    ),
    (lambda: lr_rewinding(epochs=8, dense_epochs=9), r"either a step decay, .* None came: give one of them"),
    (
        lambda: lr_rewinding(epochs=8, dense_epochs=9, milestones=[4], schedule=constant),
        r"Both came: give one of them",
    ),
    (
        lambda: lr_rewinding(epochs=8, dense_epochs=9, milestones=[9]),
        r"milestones = \[9\] do not ascend within a run of 9 epochs",
    ),
    (
        lambda: slr(epochs=9),
        r"slr: rise = 0\.1 of 9 epochs is no whole epoch\. Train longer, or write a warm_up",
    ),
    (lambda: slr(epochs=40, rise=1.0), r"rise = 1\.0; it is the part of the run that rises, between 0 and 1"),
    (
        lambda: slr(epochs=40, milestones=(0.45, 0.95)),
        r"milestones = \[18, 38\] do not ascend within a run of 36",
    ),
    (lambda: clr(div=0.5), r"div = 0\.5; the peak is divided by it, so it is at least 1"),
    (lambda: clr(final_div=0.0), r"final_div = 0\.0; the peak"),
    (lambda: clr(rise=1.0), r"rise = 1\.0; it is the part of the run that rises"),
    (
        lambda: step_decay(epochs=10, gamma=float("nan")),
        r"gamma = nan, and a learning rate must stay positive",
    ),
]


@pytest.mark.parametrize(("make", "why"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_scheduled_is_refused_in_words(make, why):
    with pytest.raises(IsopruneError, match=why) as told:
        make()
    assert "\n" not in str(told.value)


def test_what_is_no_schedule_is_refused():
    with pytest.raises(IsopruneError, match=r"schedule = 3 is no schedule\. Give a function progress"):
        made(3, epochs=5)
