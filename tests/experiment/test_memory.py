"""The memory that making a network takes."""

import sys
from pathlib import Path

import pytest
import torch

from isoprune.experiment import memory
from isoprune.experiment.memory import growth
from isoprune.experiment.pipeline import run
from isoprune.experiment.store import Store

from .tiny import tiny

LINUX = sys.platform == "linux" and not torch.cuda.is_initialized()
MEBI = 2**20


@pytest.mark.skipif(not LINUX, reason="only Linux tells")
@pytest.mark.parametrize("size", [64, 128])
def test_the_peak_is_what_was_held_at_once_and_given_back(size: int):
    torch.ones(64 * MEBI, dtype=torch.uint8)  # what was taken and given back before counts nothing
    with growth() as grown:
        for _ in range(3):
            torch.ones(size * MEBI, dtype=torch.uint8)
    assert grown == [pytest.approx(size * MEBI, abs=4 * MEBI)]
    with growth() as grown:
        pass
    assert grown[0] < MEBI


def test_where_the_system_does_not_tell_nothing_is_said(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(memory, "_PROCESS", tmp_path / "none")
    with growth() as grown:
        pass
    assert grown == []
    record = run(tiny(), Store(tmp_path))
    assert all(network.peak_memory is None for network in record.networks)


@pytest.mark.skipif(not LINUX, reason="only Linux tells")
def test_a_record_has_the_memory_of_each_network(tmp_path: Path):
    record = run(tiny(), Store(tmp_path))
    assert all(network.peak_memory >= 0 for network in record.networks)
    # Found in the store, it is what it took when it was made.
    assert [n.peak_memory for n in run(tiny(), Store(tmp_path)).networks] == [
        n.peak_memory for n in record.networks
    ]
