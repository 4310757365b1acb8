"""A run that is killed at any moment and started again ends with the same bits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiment.tiny import (
    HERE,
    assert_same_bits,
    role_digest,
    tiny,
)
from isoprune.experiment.pipeline import run
from isoprune.experiment.resolve import resolve
from isoprune.experiment.store import Store, read_step
from isoprune.types.record import Record

ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.usefixtures("_one_thread")


RUN = f"""
import sys, time, torch
torch.set_num_threads(1)
from pathlib import Path
from {HERE} import tiny
from isoprune.experiment.pipeline import run
from isoprune.experiment.store import Store

def wait(event):
    if [event["stage"], str(event["epoch"])] == sys.argv[2:]:
        print("now", flush=True)
        time.sleep(600)

run(tiny(), Store(Path(sys.argv[1])), name="whole", on_event=wait)
"""


@pytest.mark.matrix
@pytest.mark.parametrize("moment", [("dense", 1), ("retrained", 2)], ids=lambda m: f"{m[0]}-{m[1]}")
def test_killed_and_started_again_it_ends_with_the_same_bits(
    whole: tuple[Store, Record], tmp_path: Path, moment: tuple[str, int]
):
    """Killed after an epoch; test_study kills at any moment."""
    stage, epoch = moment
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path), stage, str(epoch)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}{os.pathsep}{ROOT / 'src'}"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"now\n"
        process.kill()
    store = Store(tmp_path)
    assert read_step(store.folder(role_digest(resolve(tiny()).as_dict(), stage))) is None
    seen: list[tuple[str, int]] = []
    record = run(tiny(), store, name="whole", on_event=lambda e: seen.append((e["stage"], e["epoch"])))
    assert seen[0] == (stage, epoch + 1)  # it went on from the checkpoint
    assert_same_bits(whole, (store, record))
    assert not list(tmp_path.rglob("*.part"))
    assert not list(tmp_path.rglob("checkpoint"))
