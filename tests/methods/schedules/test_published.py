"""The learning rates of every epoch that papers print, or that follow from their rules in whole epochs."""

from __future__ import annotations

import math

import pytest

from isoprune.methods.schedules import build, clr, halving, lr_rewinding, slr, step_decay
from methods.schedules.against_torch import changes, ours


@pytest.mark.parametrize(
    ("epochs", "lr", "stages", "published"),
    [
        # Wang et al., arXiv 2301.05219: P30F90 and P60F60.
        (90, 0.1, 5, {0: 0.1, 30: 0.01, 60: 0.001, 75: 1e-4, 83: 1e-5}),
        (60, 0.01, 4, {0: 0.01, 30: 0.001, 45: 1e-4, 53: 1e-5}),
    ],
)
def test_halving_gives_the_published_epochs(epochs, lr, stages, published):
    found = changes(halving(epochs=epochs, stages=stages), epochs, lr)
    assert list(found) == list(published)
    assert list(found.values()) == pytest.approx(list(published.values()))


@pytest.mark.parametrize(
    ("epochs", "milestones", "published"),
    [
        # The paper's fine-tuning of CIFAR and ImageNet, and its training of the dense networks.
        (120, [60, 90], {0: 0.01, 60: 0.001, 90: 1e-4}),
        (90, [30, 60, 75], {0: 0.01, 30: 0.001, 60: 1e-4, 75: 1e-5}),
        (200, [100, 150], {0: 0.01, 100: 0.001, 150: 1e-4}),
    ],
)
def test_step_decay_gives_the_published_epochs(epochs, milestones, published):
    found = changes(step_decay(epochs=epochs, milestones=milestones), epochs, 0.01)
    assert list(found) == list(published)
    assert list(found.values()) == pytest.approx(list(published.values()))


LE_HUA = (40, 56, 72, 88, 104, 120, 136, 152)  # epochs of retraining on CIFAR; 160 of dense training


@pytest.mark.parametrize("epochs", LE_HUA)
def test_lr_rewinding_falls_40_epochs_before_the_end_and_80(epochs):
    """Dense: 0.1, a tenth of it at 80 and 120 of 160. Start: 1e-3 times ten per milestone met again."""
    schedule = lr_rewinding(epochs=epochs, dense_epochs=160, milestones=[80, 120])
    met = [m for m in (epochs - 80, epochs - 40) if m > 0]
    want = {0: 1e-3 * 10 ** len(met)} | {m: 1e-3 * 10 ** (len(met) - 1 - i) for i, m in enumerate(met)}
    found = changes(schedule, epochs, 0.1)
    assert list(found) == list(want)
    assert list(found.values()) == pytest.approx(list(want.values()))


def test_lr_rewinding_on_imagenet_falls_30_epochs_before_the_end():
    found = changes(lr_rewinding(epochs=45, dense_epochs=90, milestones=[30, 60]), 45, 0.1)
    assert list(found) == [0, 15]
    assert list(found.values()) == pytest.approx([1e-2, 1e-3])


@pytest.mark.parametrize("epochs", LE_HUA)
def test_slr_rises_in_a_tenth_and_falls_at_the_scaled_milestones(epochs):
    steps = 5
    rates = ours(slr(epochs=epochs), epochs=epochs, steps=steps, lr=0.1)
    rise = int(0.1 * epochs)
    assert rates[0] == pytest.approx(1e-3)
    for step in range(rise * steps):
        part = step / (rise * steps)
        assert rates[step] == pytest.approx(1e-3 + (0.1 - 1e-3) * (1 - math.cos(math.pi * part)) / 2)
    falls = [step for step in range(rise * steps, len(rates)) if rates[step] < 0.99 * rates[step - 1]]
    assert falls == [(rise + int(0.45 * epochs)) * steps, (rise + int(0.675 * epochs)) * steps]
    assert [rates[rise * steps], *(rates[f] for f in falls)] == pytest.approx([0.1, 0.01, 1e-3])


def test_slr_of_40_epochs_epoch_by_epoch():
    rates = ours(slr(epochs=40), epochs=40, steps=1, lr=0.1)
    assert rates[4:22] == pytest.approx([0.1] * 18)
    assert rates[22:31] == pytest.approx([0.01] * 9)
    assert rates[31:] == pytest.approx([0.001] * 9)


def test_slr_of_imagenet_takes_its_milestones():
    """45 epochs: 4 of warm-up, and a third and two thirds of 0.9 of them later."""
    rates = ours(slr(epochs=45, milestones=(0.3, 0.6)), epochs=45, steps=1, lr=0.1)
    falls = [e for e in range(4, 45) if rates[e] < 0.99 * rates[e - 1]]
    assert falls == [4 + 13, 4 + 27]


@pytest.mark.parametrize("epochs", LE_HUA)
def test_clr_rises_a_hundredfold_in_a_tenth_and_ends_a_hundred_times_lower(epochs):
    schedule, steps = clr(), 10
    rates = ours(schedule, epochs=epochs, steps=steps, lr=0.1)
    assert rates[0] == pytest.approx(1e-3)
    assert rates.index(max(rates)) == epochs  # a tenth of the steps
    assert max(rates) == 0.1
    assert 0.1 * schedule(1.0) == pytest.approx(1e-5)


def test_a_schedule_replayed_whole_is_the_schedule_itself():
    dense = {"name": "halving", "stages": 5}
    replay = build("lr_rewinding", epochs=90, dense_epochs=90, schedule=dense)
    assert changes(replay, 90, 0.1) == changes(halving(epochs=90, stages=5), 90, 0.1)
