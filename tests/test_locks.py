"""Locks and names of what is being written: who waits says for whom, and the dead leave nothing."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import pytest

from isoprune.export.folder import check_target, replacing
from isoprune.types import IsopruneError, locks
from isoprune.types.files import write_atomic
from isoprune.types.locks import locked
from isoprune.types.temporary import clear_temporary, is_temporary, temporary

GONE = 2**22 + 1  # no process of Linux has a larger number


def test_who_waits_says_for_whom_and_goes_on(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(locks, "PATIENCE", 0.05)
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        waiting.set()
        with locked(tmp_path / ".lock"):
            order.append("second")

    other = threading.Thread(target=second)
    with caplog.at_level(logging.WARNING), locked(tmp_path / ".lock"):
        other.start()
        waiting.wait()
        while not caplog.records:
            pass
        order.append("first")
    other.join()
    assert order == ["first", "second"]
    assert f"Waiting for process {os.getpid()} on " in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_holder_file_of_somebody_else_reaches_no_terminal(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(locks, "PATIENCE", 0.01)
    holder = tmp_path / ".lock-holder"
    holder.write_bytes(b"\x1b[2J\n\xff" + b"x" * 10_000)
    line = locks._waiting(tmp_path / ".lock", holder)
    assert line.isprintable()
    assert len(line) < 1000
    holder.unlink()
    os.mkfifo(holder)
    assert "another process" in locks._waiting(tmp_path / ".lock", holder)


def test_a_writer_uses_the_name_that_is_cleared(tmp_path, monkeypatch):
    seen: list[bool] = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda a, b: (seen.append(is_temporary(a.name)), replace(a, b))[1])
    write_atomic(tmp_path / "x.json", b"1")
    with replacing(tmp_path / "folder") as part:
        seen.append(is_temporary(part.name))
    assert seen == [True, True]


@pytest.mark.parametrize("name", ["x", "model.onnx", "a.b.c", "network"])
def test_what_the_dead_left_goes_and_what_the_living_write_stays(tmp_path, name):
    dead, living = (tmp_path / f".{name}.{number}.part" for number in (GONE, os.getppid()))
    dead.mkdir()
    (dead / "inside").write_text("half")
    living.write_text("half")
    (tmp_path / f"{name}.part").write_text("a file of the user's")
    clear_temporary(tmp_path, name)
    assert {path.name for path in tmp_path.iterdir()} == {living.name, f"{name}.part"}
    assert temporary(tmp_path / name).name == f".{name}.{os.getpid()}.part"


def test_a_file_that_looks_alike_is_nobodys(tmp_path):
    for name in (".x.part", ".x.y.part", "x.7.part", ".7.part"):
        assert not is_temporary(name)
    (tmp_path / "plan.txt").touch()
    (tmp_path / ".model.onnx.4711.part").mkdir()
    with pytest.raises(IsopruneError, match=r"holds plan\.txt"):
        check_target(tmp_path)
    (tmp_path / "plan.txt").unlink()
    check_target(tmp_path)
