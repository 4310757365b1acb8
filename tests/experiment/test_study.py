"""Studies on processes: the same bits for any number of jobs, after any kill; a failure stays alone."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from experiment.tiny import CONFIG, HERE, bits
from isoprune.experiment import executor
from isoprune.experiment.executor import Job, Workers, check_jobs, cores
from isoprune.experiment.grid import Study, expand
from isoprune.experiment.store import Store
from isoprune.experiment.study import Failure, plan_work, run_work, write_listing
from isoprune.types import IsopruneError

ROOT = Path(__file__).parents[2]
GRID = {"seed": [0, 1], "repair": ["none", "orthp"]}


def study(axes: Mapping[str, list[Any]] = GRID, **changes: Any) -> Study:
    return expand(CONFIG | changes | {"study": dict(axes)}, name="tiny")


def do(
    study: Study, root: Path, *, jobs: int = 1
) -> tuple[dict[str, Any], list[Failure], list[tuple[str, Any]]]:
    """Return the records by digest, the failures and the events of a study."""
    events: list[tuple[str, Any]] = []
    store = Store(root)
    with Workers(jobs) as workers:
        work = plan_work(study, store)
        write_listing(work)
        failures = run_work(work, workers, on_event=lambda task, event: events.append((task, event)))
    return {key: r for key in work.runs if (r := store.read_record(key))}, failures, events


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[tuple[str, Any]]]:
    """Return the store, the records and the events of one uninterrupted study with one job."""
    root = tmp_path_factory.mktemp("store")
    records, failures, events = do(study(), root)
    assert failures == []
    return root, records, events


def all_networks(root: Path) -> dict[str, bytes]:
    return {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("model.safetensors")}


def assert_same_store(a: Path, b: Path, records: tuple[dict, dict]) -> None:
    assert bits(records[0]) == bits(records[1])
    assert all_networks(a) == all_networks(b)


def test_study_is_complete_and_shares_its_networks(whole):
    root, records, events = whole
    assert len(records) == 4
    made = Counter(json.loads(file.read_text())["role"] for file in root.rglob("step.json"))
    assert made == {"dense": 2, "pruned": 2, "repaired": 4, "retrained": 4}
    listing = json.loads((root / "studies" / "tiny.json").read_text())
    assert listing["runs"] == list(records)
    assert listing["axes"] == GRID
    order = [task for task, event in events if event.get("state") == "running"]
    assert sorted(task.partition("-")[0] for task in order[:4]) == ["dense", "dense", "pruned", "pruned"]
    assert sorted(order[4:]) == sorted(records)


def test_workers_tell_the_epochs(whole):
    epochs = [(e["stage"], e["epoch"], e["epochs"]) for _, e in whole[2] if "epoch" in e]
    assert epochs.count(("dense", 2, 2)) == 2
    assert epochs.count(("retrained", 3, 3)) == 4


@pytest.mark.matrix
@pytest.mark.skipif(cores() < 2, reason="needs two cores")
def test_two_jobs_give_the_bits_of_one(whole, tmp_path: Path):
    records, failures, _ = do(study(), tmp_path, jobs=2)
    assert failures == []
    assert_same_store(whole[0], tmp_path, (whole[1], records))


def test_finished_study_has_no_work_left(whole):
    root, records, _ = whole
    work = plan_work(study(), Store(root))
    assert work.tasks == ()
    assert work.kept == work.runs == tuple(records)
    more = plan_work(study({"seed": [0, 1, 2]}, repair="orthp"), Store(root))
    assert len(more.kept) == 2
    assert [task.work["do"] for task in more.tasks] == ["dense", "run"]


def test_a_task_waits_for_the_last_shared_stage_that_is_not_there(whole):
    root = whole[0]
    fresh = plan_work(study({"retrain.lr": [0.1, 0.2]}), Store(root))
    assert [task.after for task in fresh.tasks] == [None, None]
    new = plan_work(study({"retrain.lr": [0.1, 0.2]}, seed=7), Store(root))
    assert [task.work["do"] for task in new.tasks] == ["dense", "pruned", "repaired", "run", "run"]
    ids = [task.id for task in new.tasks]
    assert [task.after for task in new.tasks] == [None, *ids[:3], ids[2]]
    assert [new.epochs[key] for key in ids] == [2 + 1, 1, 1, 3 + 1, 3 + 1]


def test_what_only_one_run_needs_is_done_in_its_run(whole):
    alone = plan_work(study({"repair": ["none", "polar"]}, seed=7), Store(whole[0]))
    assert [task.work["do"] for task in alone.tasks] == ["dense", "pruned", "run", "run"]


@pytest.mark.matrix
def test_failed_runs_do_not_stop_the_others(tmp_path: Path):
    """A bug, a diverging training and a process killed by the system: each told, the fourth run done."""
    explode = {"epochs": 4, "lr": 0.1, "schedule": f"{HERE}:explode"}
    mixed = Study(
        "mixed",
        (
            *study({"repair": [f"{HERE}:killed", f"{HERE}:buggy"]}).experiments,
            *study({"seed": [0]}, retrain=explode).experiments,
            *study({"repair": ["none"]}).experiments,
        ),
        {"repair": ["..."] * 2},
    )
    records, failures, events = do(mixed, tmp_path)
    assert [r.config["repair"]["name"] for r in records.values()] == ["none"]
    errors = {failure.label.rpartition(":")[2]: failure.outcome for failure in failures}
    assert "was killed by signal 9" in str(errors["killed"].error)
    assert errors["buggy"].error == "ZeroDivisionError: a bug"
    assert "in buggy" in errors["buggy"].detail
    assert not errors["buggy"].mendable
    assert errors["orthp"].mendable
    assert "hello from a repair" in [event.get("say") for _, event in events]
    assert "The loss is" in str(errors["orthp"].error)
    assert sorted(e["state"] for _, e in events if e.get("state") in ("done", "failed")) == [
        *["done"] * 3,  # the dense network, the pruned one, and a run
        *["failed"] * 3,
    ]


@pytest.mark.matrix
def test_dense_network_that_fails_is_told_once_and_stops_its_runs(tmp_path: Path):
    dense = {"epochs": 4, "lr": 0.1, "schedule": f"{HERE}:explode"}
    records, failures, _ = do(study({"repair": ["none", "orthp"]}, dense=dense), tmp_path)
    assert records == {}
    assert [failure.label for failure in failures] == ["dense mlp_7"]


def test_worker_that_cannot_start_fails_its_task(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(executor.sys, "executable", shutil.which("false"))
    with Workers(1) as workers:
        time.sleep(0.3)
        outcomes = workers.execute([Job("a", {}), Job("b", {}, after="a")], lambda *_: None)
    assert "ended with code 1" in str(outcomes["a"].error)
    assert outcomes["b"].error == outcomes["a"].error


def test_more_jobs_than_cores_is_an_error():
    assert check_jobs(cores()) == cores()
    with pytest.raises(
        IsopruneError, match=rf"--jobs {cores() + 1} is more than the {cores()} cores .*--jobs {cores()}"
    ):
        check_jobs(cores() + 1)
    with pytest.raises(IsopruneError, match=r"--jobs 0: at least one process"):
        check_jobs(0)


def write_toml(path: Path) -> Path:
    """Write the study of this file, with trainings long enough to be killed in."""
    path.write_text(
        f"""
        data = {{ name = "digits", limit = 150, size = 8 }}
        model = {{ name = "mlp_7", width = 8, depth = 3, activation = "relu" }}
        dense = {{ epochs = 30, lr = 0.05, batch = 10, jsv_samples = 4 }}
        prune.ratio = 0.5
        retrain = {{ epochs = 30, lr = 0.05, batch = 10, jsv_samples = 4 }}
        measure = {{ samples = 4, bins = 8 }}
        study = {{ seed = {GRID["seed"]}, repair = {GRID["repair"]} }}
        """
    )
    return path


def start(toml: Path, store: Path, *, jobs: int, stderr: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    code = "import sys; from isoprune.cli import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, "study", str(toml), "--store", str(store), "--jobs", str(jobs)],
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        # What a shell starts in the background ignores Ctrl-C, and so would all below it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found = [int(word) for word in children.read_text().split()] if children.exists() else []
    return found + [below for child in found for below in descendants(child)]


def wait_until(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.mark.matrix
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_ctrl_c_says_how_to_go_on_and_leaves_no_process(tmp_path: Path):
    toml = write_toml(tmp_path / "s.toml")
    process = start(toml, tmp_path / "store", jobs=1, stderr=subprocess.PIPE)
    wait_until(lambda: list(tmp_path.rglob("state.safetensors")))
    workers = descendants(process.pid)
    assert workers
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=30)[1].decode()
    assert process.returncode == 130
    assert "Stopped. 0 of 4 runs are finished" in error
    assert f"Go on with: isoprune study {toml} --store {tmp_path / 'store'}" in error
    assert "Traceback" not in error
    assert f"To watch it: {(page := tmp_path / 'store' / 'studies' / 's.html')}" in error
    assert "It was stopped" in page.read_text()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 5)


@pytest.mark.matrix
def test_no_worker_outlives_its_parent(tmp_path: Path):
    """Whatever ends the parent, kill -9 included, ends the pipe from it."""
    endless = CONFIG | {"dense": {"epochs": 10**6, "lr": 0.01}}
    work = {"do": "run", "config": endless, "store": str(tmp_path), "name": "endless"}
    with subprocess.Popen(
        [sys.executable, "-m", "isoprune.experiment.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(json.dumps(work).encode() + b"\n")
        worker.stdin.flush()
        assert b"dense" in worker.stdout.readline()
        worker.stdin.close()
        worker.wait(timeout=5)


@pytest.mark.parametrize(
    "number", [pytest.param(0, marks=pytest.mark.matrix), pytest.param(1, marks=pytest.mark.long)]
)
def test_killed_at_any_moment_a_study_ends_with_the_same_bits(tmp_path: Path, number: int):
    """kill -9 of all its processes at random moments, again and again until it is through."""
    toml = write_toml(tmp_path / "s.toml")
    jobs = min(2, cores())
    straight = start(toml, tmp_path / "straight", jobs=jobs)
    began = time.monotonic()
    assert straight.wait(timeout=300) == 0
    duration = time.monotonic() - began
    chance = random.Random(number)
    kills, part, store = 0, 1.0, tmp_path / "killed"
    while True:
        process = start(toml, store, jobs=jobs)
        # Longer each time, so that a machine that became busy gets through in the end.
        patience = chance.uniform(0.3, 0.9) * duration * part * 1.3**kills
        try:
            assert process.wait(timeout=patience) == 0
            if kills:
                break
            # The machine is quicker than it was for the straight run: once more, with less patience.
            shutil.rmtree(store)
            part /= 2
        except subprocess.TimeoutExpired:
            for pid in [*descendants(process.pid), process.pid]:
                os.kill(pid, signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills > 0
    records = [
        {f.parent.name: json.loads(f.read_text()) for f in root.rglob("record.json")}
        for root in (tmp_path / "straight", store)
    ]
    assert len(records[0]) == 4
    assert_same_store(tmp_path / "straight", store, (records[0], records[1]))
    assert not list(store.rglob("*.part"))


def test_the_last_words_of_a_process_are_in_its_failure(tmp_path, monkeypatch):
    worker = tmp_path / "worker"
    worker.write_text("#!/bin/sh\nread line\nexec 1>&-\nsleep 0.5\necho last words >&2\nexit 3\n")
    worker.chmod(0o755)
    monkeypatch.setattr(executor.sys, "executable", str(worker))
    with Workers(1) as workers:
        outcome = workers.execute([Job("a", {})], lambda *_: None)["a"]
    assert (outcome.error, outcome.detail) == ("its process ended with code 3", "last words")
