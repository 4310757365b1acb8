"""Stores at a URL: what is published is whole, what is half is none, what is refused is told in one line."""

from __future__ import annotations

import functools
import itertools
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from experiment.saved_step import WEIGHT, saved_step, tensors_in
from experiment.test_study import do, study
from experiment.tiny import bits, one_thread
from isoprune.experiment import worker
from isoprune.experiment.executor import Outcome
from isoprune.experiment.mirror import fetch, local, publish, settle, stored, working_store
from isoprune.experiment.remote import Mirror, check_rights, get, listing, open_mirror, put
from isoprune.experiment.store import Store, read_step
from isoprune.experiment.study import plan_work, run_work, write_listing
from isoprune.training import checkpoint
from isoprune.types.json_files import sealed, write_json

NUMBERS = itertools.count()
SAVED = {"plan.json", "model.safetensors", "step.json"}


@pytest.fixture(params=["memory", "file", "s3"])
def url(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a place of its own; this machine's stores lie in the test's directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "one"))
    if request.param == "s3":
        request.getfixturevalue("s3_port")
        return f"s3://bucket/mirror-{next(NUMBERS)}/runs"
    if request.param == "memory":
        return f"memory://mirror-{next(NUMBERS)}/runs"
    return (tmp_path / "remote" / "runs").as_uri()


@pytest.fixture
def other(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Mirror, Mirror]:
    """Return two machines' mirrors of the same place."""
    first = open_mirror(url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "two"))
    return first, open_mirror(url)


def network(mirror: Mirror, name: str = "d1", **facts: Any) -> Path:
    return saved_step(mirror.store.folder(name), **facts)


def test_a_network_arrives_bit_for_bit(other):
    a, b = other
    folder = network(a, loss=0.25)
    write_json(folder / "measured-1.json", {"of": "d1"})
    (folder / ".step.json.7.part").write_text("half")
    publish(a, "networks/d1")
    assert set(listing(a, "networks/d1")) == {*SAVED, "measured-1.json"}
    fetch(b, "networks/d1")
    there = b.store.folder("d1")
    facts = read_step(there)
    assert facts is not None
    assert facts["loss"] == 0.25
    assert torch.equal(tensors_in(there)["weight"], WEIGHT)
    write_json(folder / "measured-2.json", {"of": "d1"})
    publish(a, "networks/d1")
    fetch(b, "networks/d1")
    assert (there / "measured-2.json").exists()


@pytest.mark.parametrize("half", ["no marker", "cut marker", "cut weights", "other weights"])
def test_half_published_does_not_count_and_is_mended(other, half: str):
    a, b = other
    network(a)
    publish(a, "networks/d1")
    marker, weights = "networks/d1/step.json", "networks/d1/model.safetensors"
    content = {name: get(a, name) or b"" for name in (marker, weights)}
    if half == "no marker":
        a.files.rm_file(f"{a.root}/{marker}")
    elif half == "cut marker":
        put(a, marker, content[marker][:-9])
    elif half == "cut weights":
        put(a, weights, content[weights][:-9])
    else:
        put(a, weights, content[weights][:-1] + b"\x01")
    fetch(b, "networks/d1")
    assert read_step(b.store.folder("d1")) is None
    network(b)
    publish(b, "networks/d1")
    assert {name: get(a, name) for name in content} == content
    assert not list(b.store.root.rglob(".damaged*"))


def test_who_was_first_is_not_overwritten(other):
    a, b = other
    network(a, seconds=1.0)
    network(b, seconds=2.0)
    publish(a, "networks/d1")
    publish(b, "networks/d1")
    assert json.loads(get(b, "networks/d1/step.json") or b"")["seconds"] == 1.0


def trained(mirror: Mirror, epochs: int) -> Path:
    """Write a checkpoint of so many epochs, as a training does."""
    path = mirror.store.folder("d1") / "checkpoint" / "state.safetensors"
    rows = [{"epoch": epoch} for epoch in range(epochs + 1)]
    checkpoint.write(path, {"w": torch.full((3,), float(epochs))}, {"run": {}, "history": rows})
    return path


def reached(path: Path) -> int:
    found = checkpoint.read(path)
    assert found is not None
    return len(found[1]["history"]) - 1


@pytest.mark.parametrize(("here", "result"), [(None, 5), (3, 5), (7, 7)])
def test_a_training_goes_on_from_the_furthest_checkpoint(other, here: int | None, result: int):
    a, b = other
    trained(a, 5)
    publish(a, "networks/d1")
    path = b.store.folder("d1") / "checkpoint" / "state.safetensors"
    if here is not None:
        trained(b, here)
    fetch(b, "networks/d1")
    assert reached(path) == result
    assert [p.name for p in path.parent.iterdir()] == ["state.safetensors"]


def test_a_damaged_checkpoint_is_not_gone_on_from(other):
    a, b = other
    trained(b, 2)
    put(a, "networks/d1/checkpoint/state.safetensors", b"half of it")
    fetch(b, "networks/d1")
    assert reached(trained(b, 2)) == 2


def test_the_checkpoint_goes_when_the_network_is_there(other):
    a, b = other
    path = trained(a, 5)
    publish(a, "networks/d1")
    network(a)
    publish(a, "networks/d1")  # Killed before it was forgotten here.
    assert path.exists()
    assert set(listing(a, "networks/d1")) == SAVED
    fetch(b, "networks/d1")
    assert not (b.store.folder("d1") / "checkpoint").exists()


def test_a_checkpoint_is_published_while_the_training_runs(other):
    a, _ = other
    with working_store(a.url, ["networks/d1"], seconds=0.05) as store:
        assert is_published(a, trained(Mirror(a.url, a.files, a.root, store), 3))
        assert is_published(a, trained(Mirror(a.url, a.files, a.root, store), 4))


def is_published(mirror: Mirror, path: Path) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if get(mirror, "networks/d1/checkpoint/state.safetensors") == path.read_bytes():
            return True
        time.sleep(0.02)
    return False


def carried_out(url: str) -> tuple[dict[str, Any], list[str]]:
    """Return the records of a study in the store at ``url``, and which tasks it took."""
    store = stored(url)
    work = plan_work(study(), store)
    write_listing(work)

    class Here:
        def execute(self, tasks: Any, on_event: Any) -> dict[str, Any]:
            with one_thread():
                return {
                    t.id: Outcome(**worker.attempt(t.work, functools.partial(on_event, t.id))) for t in tasks
                }

    assert run_work(work, Here(), on_event=lambda *_: None) == []
    settle(open_mirror(url))
    return {key: store.read_record(key) for key in work.runs}, [task.work["do"] for task in work.tasks]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return do(study(), tmp_path_factory.mktemp("whole"))[0]


@pytest.mark.matrix
def test_a_study_by_url_gives_the_same_and_another_machine_finds_it_done(
    url: str, whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    records, tasks = carried_out(url)
    assert bits(records) == bits(whole)
    assert Counter(tasks) == {"dense": 2, "pruned": 2, "run": 4}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "two"))
    again, none = carried_out(url)
    assert (again, none) == (records, [])
    # Lost but for the networks: put together from them, nothing is trained.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "three"))
    mirror = open_mirror(url)
    mirror.files.rm(f"{mirror.root}/runs", recursive=True)
    records, tasks = carried_out(url)
    assert bits(records) == bits(whole)
    assert set(tasks) == {"run"}


def test_what_could_not_be_published_is_published_the_next_time(url: str):
    mirror = open_mirror(url)
    network(mirror)
    assert stored(url).elsewhere == {"networks/d1"}
    assert stored(url).finished("d1")
    assert not stored(url).finished("d2")


def test_reports_read_a_store_by_url(other):
    a, b = other
    network(a)
    publish(a, "networks/d1")
    for name in ("r1", "r2"):
        put(a, f"runs/{name}/record.json", sealed({"digest": name}))
    put(a, "runs/r3/record.json", sealed({"digest": "r3"})[:-9])  # It is being written.
    put(a, "runs/../../r4/record.json", sealed({"digest": "r4"}))
    put(a, "studies/tiny.json", b'{"runs": ["r1", "r2", "r3"]}')
    listed = local(f"{a.url}/studies/tiny.json")
    assert json.loads(listed.read_text())["runs"] == ["r1", "r2", "r3"]
    assert local(a.url) == b.store.root
    assert [path.parent.name for path in sorted(b.store.root.rglob("record.json"))] == ["r1", "r2"]
    assert json.loads(local(f"{a.url}/runs/r2/record.json").read_text())["digest"] == "r2"
    assert not list(b.store.root.rglob("model.safetensors"))  # Only what a report needs.
    assert local("runs/x.json") == Path("runs/x.json")


def test_rights_are_tried_without_leaving_anything(url: str):
    check_rights(url)
    mirror = open_mirror(url)
    assert mirror.files.find(mirror.root) == []


def test_a_directory_is_used_as_it_is(tmp_path: Path):
    with working_store(str(tmp_path), ["networks/d1"]) as store:
        assert store == Store(tmp_path)
    assert stored(tmp_path) == Store(tmp_path)
    assert list(tmp_path.iterdir()) == []
