"""Studies on a Ray cluster of two nodes: the same as on local processes, also when a node is killed."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from experiment.test_study import do, study
from experiment.tiny import HERE, bits
from isoprune.cli import main
from isoprune.experiment import ray_connection, ray_executor, ray_node
from isoprune.experiment.grid import Study
from isoprune.experiment.mirror import settle, stored
from isoprune.experiment.ray_executor import TRIES, RayCluster
from isoprune.experiment.remote import open_mirror
from isoprune.experiment.store import Store
from isoprune.experiment.study import plan_work, run_work, write_listing
from isoprune.types import IsopruneError

ray = pytest.importorskip("ray")
TESTS = str(Path(__file__).parents[1])
LONG = {"epochs": 240, "lr": 0.05, "batch": 10, "jsv_samples": 4}

# Writes down what is renamed to a file that makes a folder count: each of them was made just then.
SPY = """
import os, sys

def spy(event, args):
    if event == "os.rename" and str(args[1]).endswith(("/step.json", "/record.json")):
        with open(os.environ["MADE"], "a") as file:
            file.write(f"{args[1]}\\n")

sys.addaudithook(spy)
"""


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Any, Any]]:
    """Return a cluster of two nodes of one CPU, each with a cache of its own, and the second node."""
    from ray.cluster_utils import Cluster as Local

    (tmp_path / "spy").mkdir()
    (tmp_path / "spy" / "sitecustomize.py").write_text(SPY)

    def settings(name: str) -> dict[str, str]:
        cache, spy = str(tmp_path / name), str(tmp_path / "spy")
        return {"XDG_CACHE_HOME": cache, "MADE": str(tmp_path / "made"), "PYTHONPATH": f"{TESTS}:{spy}"}

    how = {"num_cpus": 1, "include_dashboard": False}
    cluster = Local(initialize_head=True, head_node_args={**how, "env_vars": settings("first")})
    yield cluster, cluster.add_node(**how, env_vars=settings("second"))
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="module")
def long() -> Study:
    return study(dense=LONG, retrain=LONG)


@pytest.fixture(scope="module")
def here(long: Study, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the records of the study on this machine's processes."""
    return do(long, tmp_path_factory.mktemp("here"))[0]


class Killer:
    """Kills the second node as soon as two tasks train at once, and keeps what it hears."""

    def __init__(self, cluster: Any, node: Any) -> None:
        self.cluster, self.node, self.events = cluster, node, []
        self.training: dict[str, int] = {}

    def __call__(self, task: str, event: dict[str, Any]) -> None:
        self.events.append((task, event))
        if event.get("state") in ("done", "failed"):
            self.training.pop(task, None)
        elif "epoch" in event:
            self.training[task] = event["epoch"]
        runs = [task for task, epoch in self.training.items() if "-" not in task and 2 <= epoch < 200]
        if len(runs) == 2 and self.node is not None:
            self.cluster.remove_node(self.node, allow_graceful=False)
            self.node = None


def carried_out(long: Study, where: str, nodes: tuple[Any, Any]) -> tuple[dict[str, Any], list[Any]]:
    """Return the records and the events of a study of which a node is killed."""
    killer = Killer(*nodes)
    with RayCluster(nodes[0].address) as cluster:
        store = stored(where)
        work = plan_work(long, store)
        write_listing(work)
        assert run_work(work, cluster, on_event=killer) == []
    if store.url:
        settle(open_mirror(store.url))
    assert killer.node is None
    assert [e["say"] for _, e in killer.events if "say" in e] == [
        "its node or process died; it goes on elsewhere"
    ]
    return {key: store.read_record(key) for key in work.runs}, killer.events


@pytest.mark.matrix
def test_a_node_is_killed_and_nothing_is_lost_or_made_twice(nodes, long, here, tmp_path: Path):
    store = tmp_path / "store"
    records, _ = carried_out(long, str(store), nodes)
    assert bits(records) == bits(here)
    made = Counter((tmp_path / "made").read_text().split())
    assert set(made.values()) == {1}
    there = [f for name in ("step.json", "record.json") for f in store.rglob(name)]
    assert sorted(made) == sorted(str(file) for file in there)
    assert len(there) == 2 + 2 + 4 + 4 + 4  # dense, pruned, repaired, retrained, records
    assert not list(store.glob(".cluster-*"))


@pytest.mark.matrix
def test_nodes_without_a_common_disk_share_their_networks_by_url(
    nodes, long, here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "driver"))
    url = (tmp_path / "remote").as_uri()
    records, events = carried_out(long, url, nodes)
    assert bits(records) == bits(here)
    again = {task for task, event in events if event.get("state") == "left"}
    ends = Counter((t, e["stage"]) for t, e in events if "epoch" in e and e["epoch"] == e["epochs"])
    assert len(again) == 1
    assert {number for (task, _), number in ends.items() if task not in again} == {1}
    assert len(list((tmp_path / "remote").rglob("step.json"))) == 12
    # Both nodes made something, and no file that only a making machine needs was published.
    for node in ("first", "second"):
        assert list((tmp_path / node).rglob("step.json"))
    assert not list((tmp_path / "remote").rglob("checkpoint"))
    assert plan_work(long, stored(url)).tasks == ()


@pytest.mark.matrix
def test_failures_and_prints_are_told_as_those_of_local_processes(nodes, tmp_path: Path):
    repairs = study({"repair": [f"{HERE}:buggy", f"{HERE}:killed", "none"]})
    events: list[Any] = []
    with RayCluster(nodes[0].address, at_once=2) as cluster:
        failures = run_work(
            plan_work(repairs, Store(tmp_path / "store")),
            cluster,
            on_event=lambda task, event: events.append((task, event)),
        )
    errors = {failure.label.rpartition(":")[2]: failure.outcome for failure in failures}
    assert errors["buggy"].error == "ZeroDivisionError: a bug"
    assert "in buggy" in errors["buggy"].detail
    assert f"its node or process died {TRIES} times" in str(errors["killed"].error)
    assert "hello from a repair" in [event.get("say") for _, event in events]
    assert len(list((tmp_path / "store").rglob("record.json"))) == 1


@pytest.mark.matrix
def test_a_node_that_cannot_take_part_is_refused_before_anything_is_trained(
    nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ray_connection.isoprune, "__version__", "9.9")
    work = plan_work(study(), Store(tmp_path / "store"))
    with (
        RayCluster(nodes[0].address) as cluster,
        pytest.raises(IsopruneError, match=r"Node \S+ has isoprune \S+, and here is 9\.9\. Install the same"),
    ):
        run_work(work, cluster, on_event=lambda *_: None)
    assert list((tmp_path / "store").rglob("*")) == []


def test_a_node_that_does_not_see_the_directory_says_so(tmp_path: Path):
    here = {"version": ray_node.isoprune.__version__, "store": str(tmp_path), "token": str(tmp_path / "no")}
    assert "does not see the store" in str(ray_node.greet(here))
    assert "--store s3://bucket/runs" in str(ray_node.greet(here))
    assert "cannot be reached" in str(ray_node.greet(here | {"store": "nobody://speaks/it"}))


@pytest.mark.parametrize(
    ("node", "cause", "message"),
    [
        ({"Alive": True, "Resources": {}}, None, "no node with a CPU for tasks"),
        ({"Alive": False, "Resources": {"CPU": 4.0}}, None, "no node with a CPU for tasks"),
        (
            {"Alive": True, "Resources": {"CPU": 4.0}},
            ModuleNotFoundError("No module named 'isoprune'"),
            r"A node cannot run isoprune: No module named 'isoprune'\. Install it there",
        ),
    ],
)
def test_a_cluster_without_a_fit_node(monkeypatch: pytest.MonkeyPatch, node, cause, message: str):
    def failed(_: Any) -> None:
        raise ray.exceptions.RayTaskError("greet", "trace", cause)

    monkeypatch.setattr(ray, "nodes", lambda: [{"NodeID": "0" * 56, **node}])
    monkeypatch.setattr(ray, "remote", lambda _: SimpleNamespace(options=lambda **_: Asked))
    monkeypatch.setattr(ray, "wait", lambda asked, **_: (asked, []))
    monkeypatch.setattr(ray, "get", failed)
    with pytest.raises(IsopruneError, match=message):
        ray_connection._greet(ray, {})


class Asked:
    @staticmethod
    def remote(_: Any) -> str:
        return "an answer"


def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, address: str) -> str:
    """Return the one line with which a study is refused, within seconds and without a trace."""
    file = tmp_path / "a.toml"
    keys = (
        'data = "digits"',
        'model = "mlp_7"',
        "dense.epochs = 0",
        "prune.ratio = 0.5",
        "retrain.epochs = 0",
    )
    file.write_text("\n".join(keys))
    began = time.monotonic()
    command = ["study", str(file), "--store", str(tmp_path / "store"), "--executor", "ray"]
    assert main([*command, "--address", address]) == 2
    assert time.monotonic() - began < 20
    assert not (tmp_path / "store").exists()
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_cluster_that_is_not_there(capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    for address in (place, f"ray://{place}"):
        line = refused(capsys, tmp_path, address)
        assert line.startswith(f"isoprune: No Ray cluster answers at {address}")
        assert "Connection refused" in line
        assert "ray start --head" in line
    monkeypatch.setenv("RAY_ADDRESS", place)
    assert f"at auto ({place}: " in refused(capsys, tmp_path, "auto")
    assert "is neither auto, HOST:PORT nor ray://HOST:PORT" in refused(capsys, tmp_path, "nonsense")


@pytest.mark.parametrize("answer", [b"", b"220 mail.example ESMTP\r\n"])
def test_what_answers_is_not_ray(capsys, tmp_path: Path, answer: bytes):
    """Ray would go on trying for minutes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with server.accept()[0] as connection:
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        line = refused(capsys, tmp_path, f"127.0.0.1:{server.getsockname()[1]}")
    assert "what answers there is not Ray" in line or "reset by peer" in line


def test_without_ray_it_says_what_to_install(capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    assert "pip install 'isoprune[cluster]'" in refused(capsys, tmp_path, "auto")


def test_no_task_at_once_is_an_error():
    with pytest.raises(IsopruneError, match=r"--jobs 0: at least one task"):
        RayCluster(at_once=0)


def test_lines_are_told_whole():
    told: list[str] = []
    said = ray_node.Said(told.append)
    said.write("one\ntw")
    said.write("o\n\nthree")
    assert told == ["one", "two", ""]


def test_nothing_to_do_asks_no_node():
    assert ray_executor.RayCluster().execute([], lambda *_: None) == {}
