"""URLs that cannot be a store: refused in one line, before anything is trained, and nothing is lost."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from experiment.tiny import one_thread, tiny
from isoprune.cli import main
from isoprune.experiment import remote, worker
from isoprune.experiment.mirror import stored
from isoprune.experiment.remote import open_mirror
from isoprune.types import IsopruneError


class Forbidden(MemoryFileSystem):
    """What may be read and not written."""

    protocol = "forbidden"

    def pipe_file(self, path: str, *_: Any, **__: Any) -> None:
        raise PermissionError(f"AccessDenied: {path}")


@pytest.fixture
def forbidden() -> None:
    fsspec.register_implementation("forbidden", Forbidden, clobber=True)


def test_a_store_without_rights_is_refused_before_anything_is_trained(
    forbidden, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "a.toml"
    numbers = "dense.epochs = 0\nprune.ratio = 0.5\nretrain.epochs = 0\n"
    file.write_text(f'data = "digits"\nmodel = "mlp_7"\n{numbers}')
    for verb in ("study", "run"):
        assert main([verb, str(file), "--store", "forbidden://bucket/runs"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "The store forbidden://bucket/runs cannot be written (PermissionError: AccessDenied" in line
        assert "Check the address, your rights" in line
    assert not list(tmp_path.rglob("step.json"))


def test_rights_that_end_in_the_middle_lose_nothing(
    forbidden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What was made stays on this machine, and is published when that is possible again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    work = {
        "do": "dense",
        "place": 0,
        "keep": [],
        "config": tiny().as_dict(),
        "name": "x",
        "store": "forbidden://b/runs",
    }
    with one_thread():
        outcome = worker.attempt(work, lambda _: None)
    assert "cannot be written" in outcome["error"]
    assert outcome["mendable"]
    (made,) = (tmp_path / "cache").rglob("step.json")
    assert str(made.parents[2]) in outcome["error"]
    with monkeypatch.context() as allowed:
        allowed.delattr(Forbidden, "pipe_file")
        assert len(stored("forbidden://b/runs").elsewhere) == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://bucket/runs", r"The store s3://bucket/runs needs a package .*Install s3fs"),
        ("nobody://speaks/it", r"The store nobody://speaks/it cannot be reached .*Protocol not known"),
        ("ftp://127.0.0.1:1/x", r"cannot be reached \(ConnectionRefusedError"),
    ],
)
def test_a_place_that_cannot_be_reached_is_told(url: str, message: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as if it were not installed
    monkeypatch.delitem(_registry, "s3", raising=False)
    with pytest.raises(IsopruneError, match=message):
        open_mirror(url)


def test_a_place_that_gives_back_something_else_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote, "get", lambda *_: b"a login page")
    with pytest.raises(IsopruneError, match=r"memory://odd gives back something else than was written"):
        remote.check_rights("memory://odd")
