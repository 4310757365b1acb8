"""`isoprune prune MODEL --data DATA`, killed at any moment: the same command goes on to the same network."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiment.tiny import one_thread
from recipes import COMMAND, command, own_networks, record, same, tensors, told, untimed

START = [sys.executable, "-c", "import sys; from isoprune.cli import main; sys.exit(main())"]
# The command that is sent signal NUMBER as it puts away the first file after one that fits GLOB, when the
# dense and the pruned network are finished: the work
# is of milliseconds, and a signal from outside may come after its end.
KILLED = """
import os, sys
from pathlib import Path
from isoprune.cli import console, main

console.SECONDS_BETWEEN_LINES = float("inf")  # however long a busy machine takes
number, out, glob = int(sys.argv.pop(1)), Path(sys.argv.pop(1)), sys.argv.pop(1)
sent = []

def kill(event, arguments):
    if event != "os.rename" or sent or len(list(out.glob("runs/networks/*/step.json"))) < 2:
        return
    if next(out.glob(glob), None):
        sent.append(number)
        os.kill(os.getpid(), number)

sys.addaudithook(kill)
sys.exit(main())
"""

MOMENTS = {
    "probes": "runs/networks/*/probes.json",
    "retraining": "runs/networks/*/checkpoint/*.safetensors",
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COLUMNS", "120")
    # As in a process of its own that OMP_NUM_THREADS=1 is told to.
    with one_thread(), own_networks(tmp_path, monkeypatch):
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of one recipe that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "o"
    subprocess.run([*START, *command(*COMMAND, out=str(out))], check=True, env=alone())
    return out


def alone() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("number", "moment"),
    [(signal.SIGKILL, "probes"), (signal.SIGKILL, "retraining"), (signal.SIGINT, "retraining")],
)
def test_killed_and_started_again_it_ends_with_the_same_network(number, moment, whole, tmp_path, capsys):
    out = tmp_path / "o"
    words = [str(int(number)), str(out), MOMENTS[moment], *command(*COMMAND, out=str(out))]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *words], env=alone(), capture_output=True, text=True
    )
    assert killed.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130), killed.stderr
    if number == signal.SIGINT:
        said = " ".join(killed.stderr.split())
        assert said == "What is finished is kept: the same command goes on from there. isoprune: stopped."
    assert not (out / "record.json").exists()
    told(capsys, *COMMAND)
    assert same(tensors("o"), tensors(str(whole)))
    assert untimed(record("o")) == untimed(record(str(whole)))
    assert not list(out.rglob("*.part"))


@pytest.mark.matrix
def test_what_a_killed_writer_left_is_in_nobodys_way(capsys):
    told(capsys, *COMMAND)
    Path("o/.network.123.part").mkdir()
    Path("o/.record.json.123.part").touch()
    told(capsys, *COMMAND)
