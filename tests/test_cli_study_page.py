"""The page of a study that the command line keeps: when it is written, and what if it cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from experiment.test_study import study
from isoprune.cli import study_shown
from isoprune.experiment.progress import StudyProgress
from isoprune.experiment.store import Store
from isoprune.experiment.study import StudyWork, plan_work


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(study_shown.time, "monotonic", lambda: now[0])
    return now


def writer(root: Path) -> tuple[Any, Path]:
    work: StudyWork = plan_work(study(), Store(root))
    progress = StudyProgress(work.labels, work.epochs, Console(quiet=True))
    return study_shown.page_writer(work, progress, again="again", report="report"), study_shown.page_of(work)


def test_page_is_written_at_most_every_two_seconds_and_at_the_end(tmp_path: Path, clock: list[float]):
    write, page = writer(tmp_path)
    write("running")
    assert "0 runs were" not in page.read_text()
    page.unlink()
    clock[0] += 1.9
    write("running")
    assert not page.exists()
    clock[0] += 0.2
    write("running")
    assert "8" in page.read_text()
    write("finished")
    assert "It is finished" in page.read_text()


def test_a_slow_disk_is_asked_less_often(tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch):
    """A page that takes one second comes at most every hundred."""
    written = []

    def slow(*_: Any, **__: Any) -> None:
        clock[0] += 1.0
        written.append(clock[0])

    monkeypatch.setattr("isoprune.reporting.live_page", slow)
    write, _ = writer(tmp_path)
    for _ in range(1000):
        write("running")
        clock[0] += 1.0
    assert len(written) == 10


def test_a_page_that_cannot_be_written_stops_nothing(tmp_path: Path):
    (tmp_path / "studies").write_text("a file where the directory should be")
    write, page = writer(tmp_path)
    for state in ("running", "finished"):
        write(state)
    assert not page.exists()
