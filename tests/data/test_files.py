from __future__ import annotations

import errno
from http.client import IncompleteRead
from pathlib import Path
from urllib.error import URLError

import pytest

from isoprune.data.files import data_root, fetch
from isoprune.types import IsopruneError

WANTED = ["set/raw/a", "set/raw/b"]


def test_the_root_is_isoprune_data_then_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("ISOPRUNE_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert data_root() == tmp_path
    monkeypatch.delenv("ISOPRUNE_DATA")
    assert data_root() == Path("/elsewhere/isoprune")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_root() == Path.home() / ".cache" / "isoprune"


def write_both(directory: Path) -> None:
    (directory / "set/raw").mkdir(parents=True)
    for file in WANTED:
        (directory / file).write_text(file)


def test_fetched_files_arrive_whole_and_nothing_else_stays(tmp_path):
    root = tmp_path / "new" / "root"
    fetch("set", write_both, root=root, files=WANTED)
    assert [(root / file).read_text() for file in WANTED] == WANTED
    assert not (root / ".set.part").exists()
    fetch("set", lambda _: pytest.fail("fetched twice"), root=root, files=WANTED)


def test_a_download_killed_half_way_leaves_no_file_and_is_begun_anew(tmp_path):
    def killed(directory: Path) -> None:
        (directory / "set/raw").mkdir(parents=True)
        (directory / "set/raw/a").write_text("hal")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("set", killed, root=tmp_path, files=WANTED)
    assert not (tmp_path / "set").exists()
    fetch("set", write_both, root=tmp_path, files=WANTED)
    assert (tmp_path / "set/raw/a").read_text() == "set/raw/a"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (URLError("Name or service not known"), "Name or service not known"),
        (
            RuntimeError("Error downloading a:\nTried here, got:\nnothing\n"),
            "Error downloading a: Tried here",
        ),
        (IncompleteRead(b"ab", 3), "2 bytes read, 3 more expected"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
    ],
)
def test_without_a_network_it_says_which_files_go_where(tmp_path, error, words):
    def fails(directory: Path) -> None:
        raise error

    with pytest.raises(IsopruneError, match=words) as caught:
        fetch("set", fails, root=tmp_path, files=WANTED, hint=", or ask a friend")
    message = str(caught.value)
    assert "Put a, b there, or set ISOPRUNE_DATA to the directory that holds set/raw" in message
    assert str(tmp_path / "set/raw") in message
    assert message.endswith("or ask a friend.")
    assert "\n" not in message


def test_a_root_that_cannot_be_made_is_an_error_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(IsopruneError, match=r"Not a directory|File exists"):
        fetch("set", write_both, root=tmp_path / "file" / "root", files=WANTED)
