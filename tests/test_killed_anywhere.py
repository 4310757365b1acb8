"""Commands killed at any moment, by any signal, one or two at once: the same command goes on to the same."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from experiment.tiny import bits
from isoprune.types.temporary import is_temporary

EXPERIMENT = """
data = { name = "digits", limit = 150, size = 8 }
model = { name = "mlp_7", width = 8, depth = 3 }
dense = { epochs = 3, lr = 0.05, jsv_samples = 4, checkpoint_steps = 1 }
prune = { ratio = 0.5 }
repair = "orthp"
retrain = { epochs = 3, lr = 0.05, jsv_samples = 4, checkpoint_steps = 1 }
measure = { samples = 4, bins = 8 }
"""
SHORT = '{name = "digits", limit = 150, size = 8}'
COMMANDS = {
    "run": ["run", "e.toml", "--store", "out"],
    "study": ["study", "s.toml", "--store", "out", "--jobs", "2"],
    "prune": ["prune", "mlp_7", "--data", SHORT, "--dense-epochs", "2", "--ratio", "0.5", "--epochs", "2",
              "--out", "out", "--set", "retrain.lr=0.05", "--set", "dense.lr=0.05"],
}  # fmt: skip
START = [sys.executable, "-c", "import sys; from isoprune.cli import main; sys.exit(main())"]
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGSTOP)
VARYING = ("latency", "environment", "checksum", "seconds", "name")


def start(name: str, folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    (folder / "e.toml").write_text(EXPERIMENT)
    (folder / "s.toml").write_text(f"{EXPERIMENT}\n[study]\nseed = [0, 1]\n")
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    return subprocess.Popen(
        [*START, *COMMANDS[name]], cwd=folder, env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def children(pid: int) -> list[int]:
    """Return the processes that a process started, and those that they did."""
    try:
        own = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [one for child in map(int, own) for one in (child, *children(child))]


def kill(process: subprocess.Popen[bytes], draw: random.Random) -> None:
    """Send one of the signals to the command, its workers or both, and end what is left then."""
    workers, number = children(process.pid), draw.choice(SIGNALS)
    both = [process.pid, *workers]
    for pid in draw.choice([[process.pid], workers or both, both]):
        send(pid, number)
    time.sleep(draw.uniform(0, 0.3))
    for pid in {*both, *children(process.pid)}:
        send(pid, signal.SIGKILL)
    process.communicate()


def send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def result(folder: Path) -> dict[str, Any]:
    """Return all that must be the same: records, and the bytes of every network."""
    found: dict[str, Any] = {}
    for path in sorted((folder / "out").rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.name == "record.json":
            found[name] = bits({k: v for k, v in json.loads(path.read_text()).items() if k not in VARYING})
        elif path.name in ("model.safetensors", "model.safetensors"):
            found[name] = path.read_bytes()
    return found


def fuzz(
    name: str, straight: Path, folder: Path, kills: int, draw: random.Random, *, at_once: int = 1
) -> int:
    """Kill a command so many times, then let it end, and compare; return how often it ended before."""
    began = time.monotonic()
    if not straight.exists():
        whole = start(name, straight)
        whole.communicate(timeout=600)
        assert whole.returncode == 0
    length, done, rounds = time.monotonic() - began, 0, 0
    length = max(length, 3.0)
    while done < kills:
        processes = [start(name, folder) for _ in range(at_once)]
        time.sleep(draw.uniform(0.2, 1.1) * length)
        for process in processes:
            if process.poll() is None:
                kill(process, draw)
                done += 1
            else:
                process.communicate()
        if all(process.returncode == 0 for process in processes):
            check(straight, folder)
            rounds += 1
            folder = folder.with_name(f"{folder.name}-again")
    ends = [start(name, folder) for _ in range(at_once)]
    for process in ends:
        error = process.communicate(timeout=600)[1].decode()
        assert process.returncode == 0, error
        assert "Traceback" not in error
    check(straight, folder)
    return rounds


def check(straight: Path, folder: Path) -> None:
    assert result(folder) == result(straight)
    assert not [path for path in folder.rglob("*") if is_temporary(path.name)]


@pytest.mark.long
@pytest.mark.parametrize("name", COMMANDS)
def test_sixteen_kills(name, tmp_path):
    fuzz(name, tmp_path / "straight", tmp_path / "killed", 16, random.Random(name))


@pytest.mark.long
@pytest.mark.parametrize("name", COMMANDS)
def test_two_at_once_and_six_kills(name, tmp_path):
    fuzz(name, tmp_path / "straight", tmp_path / "killed", 6, random.Random(name), at_once=2)
