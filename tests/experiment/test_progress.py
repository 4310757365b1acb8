"""Progress: what is counted, and a time to the end that is right when the speed is constant."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from isoprune.experiment import progress
from isoprune.experiment.progress import StudyProgress
from isoprune.types.duration import duration


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def shown(terminal: bool = False) -> tuple[StudyProgress, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=200)
    return StudyProgress({"a": "first", "b": "second"}, {"a": 10, "b": 30}, console), out


def test_time_to_the_end_is_exact_at_constant_speed(clock: list[float]):
    """Two seconds an epoch: after k of 40 epochs, 2 (40 - k) seconds are left. Loading does not count."""
    bar, _ = shown()
    bar("a", {"state": "running"})
    clock[0] += 50  # torch loads
    bar("a", {"stage": "dense", "epoch": 1, "epochs": 9})
    assert bar.eta() == ""
    for epoch in range(2, 10):
        clock[0] += 2
        bar("a", {"stage": "dense", "epoch": epoch, "epochs": 9})
        assert bar.eta() == f"about {duration(2 * (40 - epoch))} to go"


def test_epochs_of_a_checkpoint_say_nothing_about_the_speed(clock: list[float]):
    bar, _ = shown()
    bar("a", {"stage": "dense", "epoch": 1, "epochs": 9})
    clock[0] += 2
    bar("a", {"stage": "dense", "epoch": 2, "epochs": 9})
    clock[0] += 2
    bar("b", {"stage": "retrained", "epoch": 21, "epochs": 29})  # 20 were there
    assert bar.eta() == f"about {duration(2 * (40 - 23))} to go"


def test_a_task_of_two_trainings_counts_both(clock: list[float]):
    """Its second training begins at epoch 1, where the first one ended."""
    bar, _ = shown()
    for stage, epochs in (("pruned", 10), ("retrained", 20)):
        for epoch in range(1, epochs + 1):
            bar("b", {"stage": stage, "epoch": epoch, "epochs": epochs})
            clock[0] += 2
    assert bar.shown()["fraction"] == 30 / 40
    assert bar.seconds_left() == pytest.approx(10 * 2 * 30 / 29)


def test_a_task_that_is_tried_again_is_left_and_keeps_its_epochs(clock: list[float]):
    bar, out = shown()
    bar("a", {"state": "running"})
    bar("a", {"stage": "dense", "epoch": 6, "epochs": 9})
    bar("a", {"state": "left"})
    assert bar.counts() == "0 done, 0 running, 0 failed, 2 left"
    bar("a", {"state": "running"})
    bar("a", {"stage": "dense", "epoch": 5, "epochs": 9})  # from the last checkpoint
    assert bar.shown()["running"] == [("first", "epoch 5 of 9", 0.5)]
    bar("a", {"state": "done"})
    assert bar.shown()["fraction"] == 10 / 40
    assert out.getvalue().count("first") == 1


def test_shown_is_all_there_is_to_tell(clock: list[float]):
    bar, _ = shown()
    bar("a", {"state": "running"})
    clock[0] += 5
    bar("b", {"state": "failed", "error": "why"})
    found = bar.shown()
    assert found["counts"] == {"done": 0, "running": 1, "failed": 1, "left": 0}
    assert found["running"] == [("first", "", 0.0)]
    assert found["failures"] == [("second", "why")]
    assert found["elapsed"] == 5
    assert found["seconds_left"] is None


def test_counts_and_lines_where_there_is_no_terminal(clock: list[float]):
    bar, out = shown()
    with bar:
        bar("a", {"state": "running"})
        assert bar.counts() == "0 done, 1 running, 0 failed, 1 left"
        bar("a", {"state": "done"})
        bar("b", {"state": "running"})
        bar("b", {"say": "[bold] is not markup"})
        bar("b", {"state": "failed"})
    assert out.getvalue().splitlines() == [
        "done: first; 1 done, 0 running, 0 failed, 1 left",
        "second: [bold] is not markup",
        "failed: second; 1 done, 0 running, 1 failed, 0 left",
    ]
    assert bar.eta() == ""


def test_terminal_shows_the_epoch_of_what_runs(clock: list[float]):
    bar, out = shown(terminal=True)
    with bar:
        bar("a", {"state": "running"})
        bar("a", {"stage": "dense", "epoch": 3, "epochs": 9})
        bar._bars.refresh()
    assert "first" in out.getvalue()
    assert "epoch 3 of 9" in out.getvalue()
    assert "0 done, 1 running, 0 failed, 1 left" in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (42.4, "42 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.4, "59 min 59 s"),
        (7260, "2 h 01 min"),
    ],
)
def test_duration_in_words(seconds: float, words: str):
    assert duration(seconds) == words
