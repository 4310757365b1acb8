"""The page of a running study: what it says in each state, and that it is silent, whole and readable."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from isoprune.reporting import live_page
from isoprune.types import IsopruneError
from reporting.browsing import PHONE

NOON = time.mktime((2026, 11, 27, 12, 0, 0, 0, 0, -1))
AGAIN = "isoprune study a.toml --jobs 2"
REPORT = "isoprune report runs/studies/a.json --out a.html"
SHOWN: dict[str, Any] = {
    "counts": {"done": 12, "running": 3, "failed": 4, "left": 21},
    "fraction": 0.382,
    "running": [
        ("dense <relu> seed=2", "epoch 14 of 30", 0.45),
        ("pruned seed=0", "", 0.0),
        ("x" * 90, "", 1.0),
    ],
    "failures": [("lr=10.0", "The loss is nan"), ("seed=1", "killed"), ("seed=2", "killed")],
    "elapsed": 754.0,
    "seconds_left": 1384.0,
}


def written(tmp_path, state="running", **changes):
    file = live_page(
        "lr_effect", state, SHOWN | changes, tmp_path / "a.html", kept=6, again=AGAIN, report=REPORT
    )
    return re.sub(r"\s+", " ", file.read_text(encoding="utf-8"))


def test_running_page_tells_what_is_done_what_runs_and_when_it_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: NOON)
    page = written(tmp_path)
    assert '<meta http-equiv="refresh" content="2">' in page
    assert "ends at about 12:23, in 23 min 04 s" in page
    assert "Last news at 12:00:00, 12 min 34 s after the start." in page
    assert "6 runs were finished before" in page
    for word, number in SHOWN["counts"].items():
        assert f"<h3>{word}</h3><p><b>{number}</b></p>" in page
    assert "dense &lt;relu&gt; seed=2</b><span>epoch 14 of 30</span>" in page
    assert "width:38.2%" in page
    assert "width:45.0%" in page
    assert AGAIN in page
    assert REPORT not in page


def test_an_end_on_another_day_says_which(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: NOON)
    assert "ends at about 12:00 on Sunday, 29 November" in written(tmp_path, seconds_left=2 * 86400.0)
    assert "known after some epochs" in written(tmp_path, seconds_left=None)


def test_an_error_is_told_once(tmp_path):
    page = written(tmp_path)
    assert page.count("<p>killed</p>") == 1
    assert "seed=1</b><span>and 1 more</span>" in page


@pytest.mark.parametrize(
    ("state", "told", "commands"),
    [
        ("finished", "It is finished, after 12 min 34 s.", [REPORT]),
        ("stopped", "It was stopped, after 12 min 34 s.", [AGAIN, REPORT]),
        ("ended", "and 4 of its tasks failed", [AGAIN, REPORT]),
    ],
)
def test_a_study_that_ended_is_not_loaded_anew_and_says_what_next(tmp_path, state, told, commands):
    page = written(tmp_path, state)
    assert "refresh" not in page
    assert told in page
    assert re.findall(r"<pre>(.*?)</pre>", page) == commands
    assert "Running now" not in page
    assert "<h3>running</h3><p><b>0</b></p>" in page
    assert "<h3>left</h3><p><b>24</b></p>" in page


def test_many_tasks_are_not_all_listed(tmp_path):
    page = written(tmp_path, running=[(f"task {i}", "", 0.0) for i in range(400)])
    assert page.count("<li>") == 60 + 2
    assert "and 340 more" in page


def test_page_is_small_and_a_place_that_cannot_be_written_is_named(tmp_path):
    assert len(written(tmp_path)) < 30_000  # no library of charts: it is loaded every two seconds
    (tmp_path / "file").write_text("")
    with pytest.raises(IsopruneError, match=r"The page cannot be written to \S+a\.html"):
        live_page("a", "running", SHOWN, tmp_path / "file" / "a.html", kept=0, again=AGAIN, report=REPORT)


@pytest.mark.parametrize("state", ["running", "ended"])
def test_phone_has_no_sideways_scroll_in_silence(opened, tmp_path, state):
    written(tmp_path, state)
    page = opened(tmp_path / "a.html", **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == 375


def test_browser_loads_it_anew_until_it_is_finished(opened, tmp_path):
    written(tmp_path)
    page = opened(tmp_path / "a.html")
    assert page.title() == "38 % lr_effect · isoprune"
    written(tmp_path, "finished", fraction=1.0)
    page.wait_for_function("document.title.startsWith('100 %')", timeout=10_000)
    assert page.locator(".question").inner_text().startswith("It is finished")


def test_dark_mode_changes_the_page(opened, tmp_path):
    written(tmp_path, "finished")
    page = opened(tmp_path / "a.html", color_scheme="light")
    look = (
        "[document.body, document.querySelector('.progress i')].map(e => getComputedStyle(e).backgroundColor)"
    )
    light = page.evaluate(look)
    page.emulate_media(color_scheme="dark")
    assert all(one != other for one, other in zip(light, page.evaluate(look), strict=True))
