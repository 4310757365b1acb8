"""The fastest way to take steps: chosen by the clock, and only where it saves enough."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from isoprune.training.loop import PLAIN, Loop
from isoprune.training.speed import WORTH, fastest_loop

BF16, LAST = Loop(precision="bf16"), Loop(channels_last=True)


class Clock:
    """Stands still but in steps, which ask at their start and end: each loop's takes its seconds."""

    def __init__(self, *seconds):
        self.seconds, self.now, self.calls = seconds, 0.0, 0

    def __call__(self):
        # One loop alone first, then all of them: a start of all, 5 rounds of steps, each with a look.
        alone, a_round = 1 + 5 * 3, 2 * len(self.seconds) + 1
        call, step = self.calls, -1
        if 0 < call < alone and call % 3 == 2:
            step = 0
        elif call > alone and (at := (call - alone - 1) % a_round) % 2:
            step = at // 2
        self.now += self.seconds[step] if step >= 0 else 0.0
        self.calls += 1
        return self.now


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [((0.1, 0.2), PLAIN), ((0.1, 0.1 * WORTH + 1e-3), PLAIN), ((0.1, 0.1 * WORTH - 1e-3), BF16)],
)
def test_another_loop_is_taken_where_it_saves_enough(seconds, chosen):
    x, y = torch.randn(6, 5), torch.arange(6) % 3
    found, speeds = fastest_loop(nn.Linear(5, 3), x, y, steps=10_000, clock=Clock(*seconds))
    assert found == chosen
    assert [speeds[PLAIN], speeds[BF16]] == pytest.approx([6 / s for s in seconds])


def test_a_short_training_stays_as_it_is():
    x, y = torch.randn(6, 5), torch.arange(6) % 3
    found, speeds = fastest_loop(nn.Linear(5, 3), x, y, steps=500, clock=Clock(0.1, 0.01))
    assert (found, list(speeds)) == (PLAIN, [PLAIN])


def test_images_are_tried_in_both_layouts_float64_in_no_other_precision_and_nothing_changes():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(), nn.Linear(144, 3))
    before, state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    x, y = torch.randn(4, 1, 8, 8), torch.arange(4) % 3
    state = torch.get_rng_state()
    assert list(fastest_loop(net, x, y, steps=10**9)[1]) == [
        PLAIN,
        BF16,
        LAST,
        Loop("bf16", channels_last=True),
    ]
    assert list(fastest_loop(net.double(), x.double(), y, steps=10**9)[1]) == [PLAIN, LAST]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(was.double(), net.state_dict()[key].double()) for key, was in before.items())
    assert all(p.grad is None for p in net.parameters())
