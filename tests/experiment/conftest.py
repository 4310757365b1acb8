"""What several test files of experiments start from."""

from __future__ import annotations

from collections.abc import Iterator

import fsspec
import pytest
from moto.server import ThreadedMotoServer

from experiment.tiny import one_thread, tiny
from isoprune.experiment.pipeline import run
from isoprune.experiment.store import Store
from isoprune.types.record import Record


@pytest.fixture
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="session")
def _s3_server() -> Iterator[int]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture
def s3_port(_s3_server: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let s3:// mean a server on this machine, and return its port."""
    speak_to(_s3_server, monkeypatch)
    files = fsspec.filesystem("s3")
    if not files.exists("bucket"):
        files.mkdir("bucket")
    return _s3_server


def speak_to(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Record]:
    """Return the store and the record of one uninterrupted run."""
    with one_thread():
        store = Store(tmp_path_factory.mktemp("store"))
        return store, run(tiny(), store, name="whole")
