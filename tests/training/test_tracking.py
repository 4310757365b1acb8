"""Trackers get the rows of the history; one that is not there is told in a line."""

from __future__ import annotations

import pytest

from isoprune.methods.schedules import constant
from isoprune.training import Tracking, tracking
from isoprune.types import IsopruneError

from .small import fit, seeded, small_net, small_splits

RECIPE = {"epochs": 2, "lr": 0.05, "schedule": constant(), "batch": 5}


@pytest.mark.filterwarnings("default::DeprecationWarning")  # tensorboard's own, of its protocol buffers
def test_tensorboard_holds_every_number_of_every_row(tmp_path):
    tracked = Tracking(["tensorboard"], tmp_path, "small")
    _, history = fit(
        small_net(),
        small_splits(),
        **RECIPE,
        generator=seeded(),
        measure=lambda net: {"norm": float(net[1].weight.detach().norm())},
        tracked=tracked,
    )
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "small")).Reload()
    numbers = {key for row in history for key in row} - {"epoch"}
    assert set(events.Tags()["scalars"]) == numbers
    for key in numbers:
        got = [(event.step, event.value) for event in events.Scalars(key)]
        assert [step for step, _ in got] == [row["epoch"] for row in history if key in row]
        assert [value for _, value in got] == pytest.approx([row[key] for row in history if key in row])


def test_trackers_change_no_bit(tmp_path):
    with_, rows = fit(
        small_net(), small_splits(), **RECIPE, generator=seeded(), tracked=Tracking(["tensorboard"], tmp_path)
    )
    without, history = fit(small_net(), small_splits(), **RECIPE, generator=seeded(), tracked=Tracking([]))
    for a, b in zip(with_.parameters(), without.parameters(), strict=True):
        assert (a == b).all()
    assert [row["loss"] for row in rows[1:]] == [row["loss"] for row in history[1:]]


def test_a_tracker_that_is_not_installed_is_told_with_the_command(monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda _: None)
    with pytest.raises(IsopruneError, match=r"'wandb' is not installed\. Install it: pip install wandb$"):
        fit(small_net(), small_splits(), **RECIPE, generator=seeded(), tracked=Tracking(["wandb"]))


def test_an_unknown_tracker_is_told_with_its_neighbour():
    with pytest.raises(IsopruneError, match=r"Unknown tracker 'tensorbord'\. Did you mean 'tensorboard'\?"):
        tracking.check_trackers(["tensorbord"])
