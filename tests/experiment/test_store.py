"""The store: whole or not there; damage, a full disk and a read-only disk are told in one line."""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment.saved_step import WEIGHT, saved_step, tensors_in
from isoprune.experiment.store import Store, read_step
from isoprune.types import IsopruneError, files
from isoprune.types.files import DamagedFile, explained, write_atomic
from isoprune.types.json_files import read_json, write_json
from isoprune.types.record import Record
from isoprune.types.temporary import clear_temporary

TENSORS = {"weight": WEIGHT, "count": torch.tensor(7)}


def record(digest: str) -> Record:
    return Record(digest=digest, name="mine", config={})


def test_network_comes_back_bit_for_bit(tmp_path: Path):
    folder = saved_step(tmp_path / "dense" / "d1", history=[{"loss": 0.1}])
    facts = read_step(folder)
    assert facts is not None
    assert facts["history"] == [{"loss": 0.1}]
    got = tensors_in(folder)
    assert got.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert got[name].dtype == tensor.dtype
        assert torch.equal(got[name], tensor)


def test_nothing_there_is_not_finished(tmp_path: Path):
    assert read_step(tmp_path / "dense" / "d1") is None
    assert Store(tmp_path / "nowhere").read_record("d1") is None


def test_weights_without_their_json_do_not_count_as_finished(tmp_path: Path):
    """Killed between the two files: the JSON is written last."""
    folder = saved_step(tmp_path / "d1")
    (folder / "step.json").unlink()
    assert read_step(folder) is None


def test_a_half_written_file_does_not_count_and_is_cleared_away(tmp_path: Path):
    folder = tmp_path / "d1"
    folder.mkdir()
    (folder / ".step.json.999999999.part").write_text('{"version": 1, "dig')
    assert read_step(folder) is None
    clear_temporary(folder)
    assert list(folder.iterdir()) == []


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage", [_cut, _flip, lambda p: p.write_bytes(b"")], ids=["cut", "flipped", "emptied"]
)
def test_damaged_weights_are_refused(tmp_path: Path, damage: Callable[[Path], None]):
    folder = saved_step(tmp_path / "d1")
    damage(folder / "model.safetensors")
    path = re.escape(str(folder / "model.safetensors"))
    message = rf"{path} is damaged: .* delete .* computed anew"
    with pytest.raises(DamagedFile, match=message):
        tensors_in(folder)


def test_missing_weights_are_refused(tmp_path: Path):
    folder = saved_step(tmp_path / "d1")
    (folder / "model.safetensors").unlink()
    with pytest.raises(DamagedFile, match=r"model\.safetensors is missing\. Run its experiment again"):
        tensors_in(folder)
    (folder / "plan.json").unlink()
    with pytest.raises(DamagedFile, match=r"plan\.json is missing, though .*step\.json names it"):
        tensors_in(folder)


@pytest.mark.parametrize("content", [b"", b'{"version": 1', b"\xff", b"[]", b"3"])
def test_damaged_json_is_refused(tmp_path: Path, content: bytes):
    folder = saved_step(tmp_path / "d1")
    (folder / "step.json").write_bytes(content)
    with pytest.raises(IsopruneError, match=r"step\.json is damaged: .*again, or delete .*d1: it is"):
        read_step(folder)


def test_network_of_another_digest_or_format_is_refused(tmp_path: Path):
    with pytest.raises(IsopruneError, match=r"d2 holds the network of another step: its digest is 'd1'"):
        read_step(saved_step(tmp_path / "d2", digest="d1"))
    with pytest.raises(IsopruneError, match=r"d3 is of format 99, and this isoprune reads format 2"):
        read_step(saved_step(tmp_path / "d3", version=99))


def test_record_of_another_run_is_refused(tmp_path: Path):
    store = Store(tmp_path)
    store.write_record(record("r1"))
    assert store.read_record("r1") == record("r1")
    store.record_path("r2").parent.mkdir()
    store.record_path("r1").rename(store.record_path("r2"))
    with pytest.raises(IsopruneError, match=r"holds the record of 'r1', not of 'r2'\. Delete"):
        store.read_record("r2")
    store.record_path("r2").write_text('{"dig')
    with pytest.raises(IsopruneError, match=r"record\.json is not a readable record .*this run is repeated"):
        store.read_record("r2")


# No deadline: each example waits for the disk, and on a busy machine that takes what it takes.
@settings(deadline=None)
@given(
    value=st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**53), 2**53)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_json_comes_back_exactly(tmp_path_factory: pytest.TempPathFactory, value: object):
    """Floats included: what is read back is what was computed, to the last bit."""
    path = tmp_path_factory.mktemp("json") / "x.json"
    write_json(path, {"value": value})
    assert read_json(path, remedy="") == {"value": value}


def test_nan_becomes_null_as_json_has_none(tmp_path: Path):
    write_json(tmp_path / "x.json", {"a": float("nan"), "b": [float("inf"), 1.5]})
    written = json.loads((tmp_path / "x.json").read_text())
    del written["checksum"]
    assert written == {"a": None, "b": [None, 1.5]}


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
):
    path = tmp_path / "x.json"
    write_json(path, {"old": 1})

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(*((files.os, "fsync") if step == "fsync" else (Path, "replace")), fail)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"new": 2})
    monkeypatch.undo()
    assert read_json(path, remedy="") == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, r"No space left for the store .*\. Make room and start the same command again"),
        (errno.EDQUOT, "No space left for the store"),
        (errno.EFBIG, "No space left for the store"),
        (errno.EROFS, r"Cannot write to the store .*Read-only.*--store DIR"),
        (errno.EACCES, r"Cannot write to the store .*Permission denied.*--store DIR"),
        (errno.EPERM, "Cannot write to the store"),
    ],
)
def test_errors_of_the_disk_are_told_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, message: str
):
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code), str(tmp_path))

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(IsopruneError, match=message) as caught:
        Store(tmp_path).write_record(record("r1"))
    assert "\n" not in str(caught.value)
    assert Store(tmp_path).read_record("r1") is None


@pytest.fixture
def powerless() -> Iterator[None]:
    """Be nobody, if we are root, who may write everywhere."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        yield
        os.seteuid(0)
    else:
        yield


@pytest.mark.usefixtures("powerless")
def test_store_that_may_not_be_written_is_told_and_can_be_read():
    with tempfile.TemporaryDirectory() as name:
        store = Store(Path(name) / "runs")
        store.write_record(record("r1"))
        folder = saved_step(store.folder("d1"))
        for path in [*store.root.rglob("*"), store.root]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        try:
            with pytest.raises(
                IsopruneError, match=r"Cannot write to the store \S+runs: .*denied.*--store DIR"
            ):
                store.write_record(record("r2"))
            with pytest.raises(IsopruneError, match="Cannot write to the store"), store.making(folder):
                pass
            assert store.read_record("r1") == record("r1")
            assert tensors_in(folder).keys() == TENSORS.keys()
        finally:
            for path in [store.root, *store.root.rglob("*")]:
                path.chmod(0o755)


def test_other_errors_pass_as_they_are(tmp_path: Path):
    with pytest.raises(FileNotFoundError), explained(tmp_path):
        (tmp_path / "no").read_bytes()


def test_a_file_where_the_store_should_be_is_refused(tmp_path: Path):
    (tmp_path / "runs").write_text("mine")
    with pytest.raises(
        IsopruneError, match=r"the store .*runs cannot be made: a file stands in its way\. Give a directory"
    ):
        Store(tmp_path / "runs").write_record(record("r1"))


def test_lock_is_one_for_all_processes_and_let_go_of(tmp_path: Path):
    from filelock import FileLock, Timeout

    store, folder = Store(tmp_path), tmp_path / "dense" / "d1"
    with store.making(folder), pytest.raises(Timeout):
        FileLock(folder / ".lock").acquire(timeout=0)
    with pytest.raises(ZeroDivisionError), store.making(folder):
        raise ZeroDivisionError
    FileLock(folder / ".lock").acquire(timeout=0).lock.release()


def test_bytes_are_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """After a power cut a name must not stand for bytes that were never written."""
    calls: list[str] = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(files.os, "fsync", lambda f: (calls.append("sync"), sync(f))[1])
    monkeypatch.setattr(Path, "replace", lambda a, b: (calls.append("rename"), replace(a, b))[1])
    write_atomic(tmp_path / "x", b"1")
    assert calls == ["sync", "rename", "sync"]
