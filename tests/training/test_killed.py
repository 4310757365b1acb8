"""Interrupted at any step, a training ends on the bits of one that was not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from isoprune.methods.schedules import constant
from isoprune.training import Diverged, checkpoint, resume, steps
from isoprune.training.resume import Pace

from . import killable
from .small import fit, seeded, small_net, small_splits

PAUSE = 0.004  # seconds in each forward pass, so that a run lasts long enough to be killed within


class Killed(BaseException):
    """As sudden as SIGKILL: nothing in the library may catch it."""


def test_killed_at_every_step_the_bits_are_those_of_an_unbroken_run(tmp_path, monkeypatch):
    """Every checkpoint there is, within epochs and between them, is gone on from once."""
    want = killable.train(tmp_path / "unbroken", epochs=2)
    write, seen = checkpoint.write, set()

    def killed_after_new(path, tensors, facts):
        write(path, tensors, facts)
        place = (len(facts["history"]), facts.get("step", 0))
        if place not in seen:
            seen.add(place)
            raise Killed

    for _ in range(50):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "write", killed_after_new)
            try:
                got = killable.train(tmp_path / "broken", epochs=2)
                break
            except Killed:
                continue
    assert got == want
    # 21 steps an epoch, a checkpoint every 3 but after the last, which is the epoch's.
    within = {(epoch, step) for epoch in (1, 2) for step in range(3, 21, 3)}
    assert seen == within | {(1, 0), (2, 0), (3, 0)}


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "training.killable", str(folder), str(PAUSE)],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def killed_at_random(folder: Path, kills: int, seed: int) -> list[str]:
    """Kill a run ``kills`` times, each some time after it has begun to write, and return how far it was."""
    file, moments, places = folder / "state.safetensors", random.Random(seed), []
    for _ in range(kills):
        before = file.stat().st_mtime_ns if file.exists() else 0
        process = start(folder)
        # From its first new checkpoint on: what comes before is the start of Python.
        while process.poll() is None and (not file.exists() or file.stat().st_mtime_ns == before):
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        if process.wait(600) == 0:
            break
        facts = (checkpoint.read(file) or ({}, {}))[1]
        places.append(f"{len(facts['history'])}.{facts.get('step', 0)}")
    return places


@pytest.mark.matrix
@pytest.mark.parametrize("kills", [3, 20])
def test_killed_from_outside_at_random_moments_the_bits_are_the_same(tmp_path, kills):
    places = killed_at_random(tmp_path, kills, seed=kills)
    assert len(set(places)) >= min(kills, 10) * 2 // 3, places
    assert start(tmp_path).wait(600) == 0
    # Nor does it matter that this process, with another state of torch's own generator, trained it unbroken.
    assert (tmp_path / "done").read_text() == killable.train(tmp_path / "unbroken")


def test_rows_count_the_seconds_from_before_the_interruption(tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    told = {"epochs": 1, "lr": 0.05, "schedule": constant(), "batch": 5, "save_steps": 2}

    def killed_at(step):
        def write(path, tensors, facts):
            real(path, tensors, facts)
            if facts.get("step") == step:
                raise Killed

        return write

    real = checkpoint.write
    monkeypatch.setattr(checkpoint, "write", killed_at(4))
    with pytest.raises(Killed):
        fit(small_net(), small_splits(), **told, generator=seeded(), checkpoint=tmp_path / "x")
    kept = (real_facts := checkpoint.read(tmp_path / "x.safetensors") or ({}, {}))[1]["seconds"]
    assert real_facts[1]["step"] == 4
    monkeypatch.setattr(checkpoint, "write", real)
    _, history = fit(small_net(), small_splits(), **told, generator=seeded(), checkpoint=tmp_path / "x")
    assert history[1]["seconds"] == kept + 10  # one tick of the clock from beginning to end


def test_a_state_that_has_diverged_replaces_no_other_and_the_error_says_what_is_kept(tmp_path):
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Linear(5, 3))
    splits = small_splits(dtype=torch.float32)
    bad = lambda progress: 1e30 if progress >= 3 / 8 else 1.0  # noqa: E731  from the fourth step of eight on
    told = {"epochs": 1, "lr": 0.01, "schedule": bad, "batch": 3, "save_steps": 1}
    with pytest.raises(Diverged) as caught:
        fit(net, splits, **told, generator=seeded(), checkpoint=tmp_path / "x")
    facts = (checkpoint.read(tmp_path / "x.safetensors") or ({}, {}))[1]
    assert facts["step"] < (caught.value.step or 0) <= 8
    assert f"The state after step {facts['step']} of epoch 1 is kept in {tmp_path}" in str(caught.value)


@pytest.mark.parametrize("cost", [0.0, 0.5, 4.0])
def test_by_the_clock_writing_takes_no_more_than_a_fiftieth(cost, monkeypatch):
    now = 0.0
    monkeypatch.setattr(resume.time, "monotonic", lambda: now)
    pace, spent = Pace(None, 10.0), 0.0
    for step in range(20_000):
        now += 0.1
        if pace.due(step):
            began, now, spent = now, now + cost, spent + cost
            pace.written(began)
    assert spent <= now / 50 + cost  # the first is written before it is known what it takes
    assert pace.last > now - max(10.0, 50 * cost) - cost - 1


def test_by_steps_it_is_due_after_each_so_many():
    assert [step for step in range(1, 12) if Pace(4, 0.0).due(step)] == [4, 8]


def test_seeds_depend_on_the_place_of_a_step_alone():
    seeds = {
        steps.step_seed(root, epoch, step, piece)
        for root in (0, 1)
        for epoch in range(3)
        for step in range(9)
        for piece in (0, 1)
    }
    assert len(seeds) == 2 * 3 * 9 * 2
    assert all(0 <= seed < 2**63 for seed in seeds)
