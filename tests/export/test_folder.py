"""A saved directory is whole or not there: killed, full, read-only, or somebody else's."""

from __future__ import annotations

import errno
import os
import resource
from contextlib import contextmanager
from pathlib import Path

import pytest
from torch import nn

from isoprune.export import load, save
from isoprune.export.folder import check_target
from isoprune.types import IsopruneError

from .networks import bits


def build() -> nn.Module:
    return nn.Linear(30, 40)


@pytest.fixture
def old() -> nn.Module:
    return build()


@pytest.fixture
def new() -> nn.Module:
    return build()


def listing(directory: Path) -> list[str]:
    return sorted(p.name for p in directory.iterdir())


def test_one_of_ours_is_replaced_and_nothing_is_left_beside_it(tmp_path, old, new):
    save(old, tmp_path / "s")
    (tmp_path / "s" / "model.onnx").write_text("of the old network")
    save(new, tmp_path / "s")
    assert bits(load(tmp_path / "s", build)) == bits(new)
    assert listing(tmp_path) == ["s"]
    assert listing(tmp_path / "s") == ["model.safetensors", "plan.json"]


def test_an_empty_directory_and_missing_parents_are_fine(tmp_path, new):
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "a" / "b" / "c"):
        assert save(new, str(place)) == place
        assert bits(load(str(place), build)) == bits(new)


def test_a_link_to_a_directory_stays_a_link(tmp_path, old, new):
    save(old, tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    save(new, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert bits(load(tmp_path / "real", build)) == bits(new)


@pytest.mark.parametrize("files", [["thesis.tex"], ["plan.json", "notes.txt"], ["model.safetensors"]])
def test_files_of_others_are_never_deleted(tmp_path, new, files):
    place = tmp_path / "home"
    place.mkdir()
    for name in files:
        (place / name).write_text("precious")
    with pytest.raises(IsopruneError, match=r"which isoprune did not write. It is not replaced") as error:
        save(new, place)
    assert "\n" not in str(error.value)
    assert {name: (place / name).read_text() for name in listing(place)} == dict.fromkeys(files, "precious")


def test_a_plan_json_of_another_program_is_not_ours(tmp_path, new):
    place = tmp_path / "home"
    place.mkdir()
    (place / "plan.json").write_text('{"holiday": "Lisbon"}')
    with pytest.raises(IsopruneError, match=r"isoprune did not write"):
        save(new, place)
    assert (place / "plan.json").read_text() == '{"holiday": "Lisbon"}'


def test_a_file_in_the_way(tmp_path, new):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(IsopruneError, match=r"is a file. Give a directory"):
        save(new, tmp_path / "file")
    with pytest.raises(IsopruneError, match=r"a file stands in its way"):
        save(new, tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "precious"


class Killed(BaseException):
    """As sudden as Ctrl-C: nothing in the library may take it for an error."""


STEPS = [(os, "fsync", n) for n in range(4)] + [(Path, "rename", n) for n in range(2)] + [(Path, "mkdir", 1)]


@pytest.mark.parametrize(("owner", "name", "number"), STEPS, ids=lambda v: getattr(v, "__name__", str(v)))
@pytest.mark.parametrize("problem", [Killed, OSError(errno.ENOSPC, "No space left on device")])
def test_stopped_at_any_step_the_old_or_the_new_one_is_there(
    tmp_path, monkeypatch, old, new, owner, name, number, problem
):
    save(old, tmp_path / "s")
    real, calls = getattr(owner, name), []

    def breaks(*args, **kwargs):
        calls.append(args)
        if len(calls) == number + 1:
            raise problem
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, breaks)
        with pytest.raises(Killed if problem is Killed else IsopruneError) as error:
            save(new, tmp_path / "s")
    if problem is not Killed:
        assert "No space left for" in str(error.value)
        assert "\n" not in str(error.value)
    assert bits(load(tmp_path / "s", build)) in (bits(old), bits(new))
    assert [n for n in listing(tmp_path) if n != "s" and not n.endswith(".replaced")] == []
    save(new, tmp_path / "s")
    assert bits(load(tmp_path / "s", build)) == bits(new)
    assert listing(tmp_path) == ["s"]


def test_a_power_cut_between_the_two_renames(tmp_path, old, new):
    """The one moment when the directory is not there: the old network stands beside it, and is found."""
    save(old, tmp_path / "s")
    (tmp_path / "s").rename(tmp_path / ".s.replaced")
    assert bits(load(tmp_path / "s", build)) == bits(old)
    save(new, tmp_path / "s")
    assert bits(load(tmp_path / "s", build)) == bits(new)
    assert listing(tmp_path) == ["s"]


@contextmanager
def files_of_at_most(size: int):
    """Let the kernel refuse to write more: the real error, out of the real writer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 100, 4000])
def test_no_space_left(tmp_path, old, new, size):
    save(old, tmp_path / "s")
    with (
        files_of_at_most(size),
        pytest.raises(IsopruneError, match=r"No space left for .*: File too large") as error,
    ):
        save(new, tmp_path / "s")
    assert "\n" not in str(error.value)
    assert bits(load(tmp_path / "s", build)) == bits(old)
    assert listing(tmp_path) == ["s"]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_read_only(tmp_path, monkeypatch, new, number):
    """Root may write anywhere, so the refusal is played."""

    def refuse(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(IsopruneError, match=r"Cannot write to .*Give a directory that you may write to"):
        save(new, tmp_path / "s")
    assert listing(tmp_path) == []


def test_the_weights_may_be_read_by_whom_the_plan_may(tmp_path, new):
    place = save(new, tmp_path / "s")
    modes = {(place / name).stat().st_mode for name in listing(place)}
    assert len(modes) == 1


def test_what_may_be_written_is_known_before_the_work(tmp_path, old):
    check_target(tmp_path / "new")
    check_target(save(old, tmp_path / "ours"))
    assert listing(tmp_path) == ["ours"]
