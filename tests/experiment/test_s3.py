"""A store on an S3 server whose connections break, and with two that write at once."""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from experiment.conftest import speak_to
from experiment.saved_step import saved_step, tensors_in
from isoprune.experiment.mirror import fetch, publish, stored
from isoprune.experiment.remote import Mirror, get, listing, open_mirror
from isoprune.experiment.store import read_step
from isoprune.types import IsopruneError

WEIGHT = torch.arange(50_000.0)  # 200 kB: more than a socket swallows at once


class Wire:
    """Passes bytes on to a port, and cuts every connection once so many have gone through."""

    def __init__(self, port: int, bound: int) -> None:
        self.port, self.left, self.cut = port, bound, 0
        self.threads: list[threading.Thread] = []
        self.ends: list[socket.socket] = []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.own = self.server.getsockname()[1]
        self._start(self._accept)

    def _start(self, work: Callable[..., None], *sockets: socket.socket) -> None:
        self.threads.append(threading.Thread(target=work, args=sockets))
        self.threads[-1].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, there = self.server.accept()[0], socket.create_connection(("127.0.0.1", self.port))
                self.ends += client, there
                self._start(self._pass_on, client, there)
                self._start(self._pass_on, there, client)

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(4096):
                self.left -= len(data)
                if self.left < 0:
                    self.cut += 1
                    break
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.server.shutdown(socket.SHUT_RDWR)
        for end in (*self.ends, self.server):
            end.close()
        for thread in self.threads:
            thread.join()


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "one"))
    return monkeypatch


def network(mirror: Mirror, seconds: float = 1.0) -> None:
    saved_step(mirror.store.folder("d1"), weight=WEIGHT, seconds=seconds)


def arrived(mirror: Mirror) -> float:
    """Return what the network says that lies there; its weights must be those that were written."""
    fetch(mirror, "networks/d1")
    facts = read_step(mirror.store.folder("d1"))
    assert facts is not None
    assert torch.equal(tensors_in(mirror.store.folder("d1"), like=WEIGHT)["weight"], WEIGHT)
    return facts["seconds"]


@pytest.mark.matrix
@pytest.mark.parametrize("bound", [500, 60_000, 201_500])
def test_what_a_cut_connection_left_unpublished_is_published_the_next_time(s3_port, caches, tmp_path, bound):
    url = f"s3://bucket/cut-{bound}/runs"
    wire = Wire(s3_port, bound)
    speak_to(wire.own, caches)
    mirror = open_mirror(url)
    network(mirror)
    with pytest.raises(IsopruneError, match=r"cannot be (read|written)") as error:
        publish(mirror, "networks/d1")
    wire.close()
    assert wire.cut
    assert "\n" not in str(error.value)
    speak_to(s3_port, caches)
    assert "networks/d1/step.json" not in listing(open_mirror(url)), "it counts, and is not whole"
    assert stored(url).elsewhere == {"networks/d1"}
    caches.setenv("XDG_CACHE_HOME", str(tmp_path / "two"))
    assert arrived(open_mirror(url)) == 1.0


@pytest.mark.matrix
@pytest.mark.parametrize("bound", [3_000, 100_000])
def test_what_could_not_be_fetched_is_told_in_a_line_and_leaves_nothing_half(
    s3_port, caches, tmp_path, bound
):
    url = f"s3://bucket/fetch-{bound}/runs"
    mirror = open_mirror(url)
    network(mirror)
    publish(mirror, "networks/d1")
    caches.setenv("XDG_CACHE_HOME", str(tmp_path / "two"))
    wire = Wire(s3_port, bound)
    speak_to(wire.own, caches)
    broken = open_mirror(url)
    with pytest.raises(IsopruneError, match="cannot be read"):
        fetch(broken, "networks/d1")
    wire.close()
    assert read_step(broken.store.folder("d1")) is None
    speak_to(s3_port, caches)
    assert arrived(open_mirror(url)) == 1.0


def write(url: str, cache: str, seconds: float, start: multiprocessing.synchronize.Barrier) -> None:
    os.environ["XDG_CACHE_HOME"] = cache
    # As users' clients do, try again: the tests' server may answer 500 to one of two writes of one key.
    del os.environ["AWS_MAX_ATTEMPTS"]
    mirror = open_mirror(url)
    network(mirror, seconds)
    start.wait()
    publish(mirror, "networks/d1")


@pytest.mark.matrix
def test_of_two_that_write_at_once_one_whole_network_stays(s3_port, caches, tmp_path):
    context = multiprocessing.get_context("spawn")
    url, start = "s3://bucket/two/runs", context.Barrier(2)
    writers = [
        context.Process(target=write, args=(url, str(tmp_path / f"w{i}"), float(i), start)) for i in (1, 2)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    mirror = open_mirror(url)
    first = arrived(mirror)
    assert first in (1.0, 2.0)
    assert get(mirror, "networks/d1/step.json")
