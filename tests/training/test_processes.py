"""Several processes: what each takes of a batch, and that together they train as one does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from isoprune.training import processes
from isoprune.training.processes import Processes, join
from isoprune.types import CLASSIFICATION, IsopruneError

from . import joined


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 6))
def test_pieces_cover_the_batch_once_and_their_weighted_means_are_its_mean(size, count, most):
    batch = torch.arange(100, 100 + size)
    values = torch.arange(200, dtype=torch.float64).square()
    total, seen, numbers = 0.0, [], set()
    for rank in range(count):
        here = Processes(None, torch.device("cpu"), rank, count)
        parts, weights = here.pieces(batch, most)
        numbers.add(len(parts))
        assert all(len(part) for part in parts)
        seen += [int(i) for part, weight in zip(parts, weights, strict=True) if weight for i in part]
        total += sum(w * values[part].mean().item() for part, w in zip(parts, weights, strict=True)) / count
    assert sorted(seen) == batch.tolist()
    assert len(numbers) == 1
    assert 1 <= numbers.pop() <= most
    assert total == pytest.approx(values[batch].mean().item())


def test_one_process_takes_the_batch_itself():
    batch = torch.arange(5)
    parts, weights = Processes(None, torch.device("cpu"), 0, 1).pieces(batch, 1)
    assert parts[0] is batch
    assert weights == [1.0]


def test_a_network_without_parameters_and_one_on_a_device_of_its_own_stay_there():
    assert join(nn.Flatten()).count == 1
    meta = nn.Linear(2, 2, device="meta")
    assert join(meta).device == torch.device("meta")


@pytest.mark.parametrize("met", [False, True])
def test_the_group_that_join_made_ends_with_the_interpreter_and_the_callers_own_does_not(
    met, tmp_path, monkeypatch
):
    import accelerate

    def meet(**_):
        if not met:
            begin()
        return SimpleNamespace(
            mixed_precision="no", device=torch.device("cpu"), process_index=0, num_processes=2
        )

    def begin():
        store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
        torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)

    at_exit: list = []
    monkeypatch.setattr(accelerate, "Accelerator", meet)
    monkeypatch.setattr(processes.atexit, "register", at_exit.append)
    if met:
        begin()
    try:
        join(nn.Linear(2, 2))
        assert len(at_exit) == (not met)
        for _ in range(2):  # a script may have ended it itself
            for end in at_exit:
                end()
        assert torch.distributed.is_initialized() == met
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def test_a_precision_told_to_accelerate_is_refused(monkeypatch):
    import accelerate

    monkeypatch.setattr(accelerate, "Accelerator", lambda **_: SimpleNamespace(mixed_precision="bf16"))
    with pytest.raises(IsopruneError, match=r"mixed precision 'bf16'.*Start it with --mixed_precision no"):
        join(nn.Linear(2, 2))


def test_gpus_that_are_not_there_synchronise_no_batchnorm(monkeypatch):
    from isoprune.training import Loop, Training
    from isoprune.training.prepare import prepare

    here = Processes(None, torch.device("cpu"), 0, 2)
    training = Training(1, 0.1, lambda _: 1.0, loop=Loop(sync_batchnorm=True))
    with pytest.raises(IsopruneError, match="sync_batchnorm needs GPUs"):
        prepare(nn.Linear(2, 2), here, training, CLASSIFICATION)


def test_what_the_main_process_cannot_make_is_an_error_for_all(monkeypatch):
    def refuses():
        raise IsopruneError("cannot")

    import accelerate.utils

    sent: list = []
    monkeypatch.setattr(accelerate.utils, "broadcast_object_list", lambda told: sent.append(told) or told)
    main = processes.Processes(None, torch.device("cpu"), 0, 2)
    with pytest.raises(IsopruneError, match="cannot"):
        main.from_main(refuses)
    assert isinstance(sent[0][1], IsopruneError)
    monkeypatch.setattr(accelerate.utils, "broadcast_object_list", lambda _: sent[0])
    with pytest.raises(IsopruneError, match="cannot"):
        Processes(None, torch.device("cpu"), 1, 2).from_main(refuses)


def launch(folder: Path) -> None:
    """Train with two processes on the CPU, which meet by gloo."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = "-m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1"
    settings = f"--mixed_precision no --dynamo_backend no --main_process_port {port}"
    script = [joined.__file__, str(folder)]
    done = subprocess.run(
        [sys.executable, *command.split(), *settings.split(), *script],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.matrix
def test_two_processes_train_as_one(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    joined.main(tmp_path / "one")
    launch(tmp_path / "two")
    one, *two = (load_file(tmp_path / where) for where in ("one/tensors-0", "two/tensors-0", "two/tensors-1"))
    told, *tolds = (
        json.loads((tmp_path / where).read_text())
        for where in ("one/told-0.json", "two/told-0.json", "two/told-1.json")
    )
    for key, tensor in two[0].items():
        assert torch.equal(two[1][key], tensor), key
        # BatchNorm sees half a batch each, so that only its processes agree, not one with two.
        if not key.startswith("norm/"):
            torch.testing.assert_close(tensor, one[key])
    for name in ("plain", "all", "norm", "idle"):
        assert tolds[0][name] == tolds[1][name]
        assert tolds[0][f"{name} kept"] == told[f"{name} kept"] == [0, 1, 2, 3]
        assert tolds[1][f"{name} kept"] == []
        for both in (told, *tolds):
            whole, shared = both[f"{name} evaluated"]
            assert shared == pytest.approx(whole)
    for name in ("plain", "all", "idle"):
        for row, want in zip(tolds[0][name], told[name], strict=True):
            assert row == pytest.approx(want, rel=1e-5)
    # The checkpoints of the end are those of one process too.
    launch(tmp_path / "two")
    again = json.loads((tmp_path / "two" / "told-1.json").read_text())
    assert {k: v for k, v in again.items() if "kept" not in k} == {
        k: v for k, v in tolds[1].items() if "kept" not in k
    }
