from __future__ import annotations

import errno
import logging
import math
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import isoprune
from isoprune.training import Saving, checkpoint
from isoprune.types import IsopruneError

from .resuming import RECIPE, train
from .small import fit, seeded, small_net, small_splits


def bits(result):
    """Weights and buffers as bytes, and the history without its clock."""
    model, history = result
    tensors = {k: v.reshape(-1).view(torch.uint8).tolist() for k, v in model.state_dict().items()}
    return tensors, [{k: v for k, v in row.items() if k != "seconds"} for row in history]


def files(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


class Killed(BaseException):
    """As sudden as SIGKILL: nothing in the library may catch it."""


def kill_after(epoch: int):
    def on_epoch(row):
        if row["epoch"] == epoch:
            raise Killed

    return on_epoch


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("momentum", [0.8, 0.0])
def test_killed_after_every_epoch_the_bits_are_those_of_an_unbroken_run(tmp_path, momentum, dtype):
    want = bits(train(None, momentum=momentum, dtype=dtype))
    path = tmp_path / "new" / "dense"
    for epoch in range(5):
        with pytest.raises(Killed):
            train(path, momentum=momentum, dtype=dtype, on_epoch=kill_after(epoch))
    rows = []
    assert bits(train(path, momentum=momentum, dtype=dtype, on_epoch=rows.append)) == want
    assert not rows
    assert files(path.parent) == ["dense.safetensors"]


def test_resumed_training_leaves_the_generator_where_an_unbroken_one_does(tmp_path):
    unbroken, resumed = seeded(3), seeded(3)
    arguments = {**RECIPE, "checkpoint": tmp_path / "x"}
    fit(small_net(), small_splits(), **RECIPE, generator=unbroken)
    with pytest.raises(Killed):
        fit(small_net(), small_splits(), **arguments, generator=seeded(3), on_epoch=kill_after(2))
    fit(small_net(), small_splits(), **arguments, generator=resumed)
    assert torch.equal(unbroken.get_state(), resumed.get_state())


def test_killed_while_writing_the_epoch_before_counts(tmp_path, monkeypatch):
    want = bits(train(None))
    path = tmp_path / "dense"
    with pytest.raises(Killed):
        train(path, on_epoch=kill_after(2))
    whole = (tmp_path / "dense.safetensors").read_bytes()

    def killed(self, target):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(Killed):
            train(path)
    assert (tmp_path / "dense.safetensors").read_bytes() == whole
    (tmp_path / ".dense.safetensors.4194305.part").write_bytes(whole[:100])
    assert bits(train(path)) == want
    assert files(tmp_path) == ["dense.safetensors"]


def flip(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c[: len(c) // 2],
        lambda c: c[:-1],
        lambda _: b"",
        lambda _: b"not a checkpoint at all",
        lambda c: flip(c, len(c) - 1),
        lambda c: flip(c, c.index(b"validation_accuracy") + 2),
        lambda c: flip(c, 3),
    ],
    ids=["half", "one byte short", "empty", "text", "flipped tensor", "flipped fact", "flipped length"],
)
def test_a_damaged_checkpoint_never_counts(tmp_path, caplog, damage):
    want = bits(train(None))
    path = tmp_path / "dense"
    train(path)
    file = tmp_path / "dense.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    rows = []
    with caplog.at_level(logging.WARNING, logger="isoprune"):
        assert bits(train(path, on_epoch=rows.append)) == want
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3, 4]
    assert str(file) in caplog.text
    assert "training starts again from the beginning" in caplog.text


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_refuses_is_an_error_in_words_and_the_last_epoch_stays(tmp_path, monkeypatch, error):
    want = bits(train(None))
    with pytest.raises(Killed):
        train(tmp_path / "dense", on_epoch=kill_after(2))

    def refuses(handle):
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuses)
        with pytest.raises(IsopruneError, match=os.strerror(error)) as caught:
            train(tmp_path / "dense")
    assert str(tmp_path / "dense.safetensors") in str(caught.value)
    assert files(tmp_path) == ["dense.safetensors"]
    assert bits(train(tmp_path / "dense")) == want


def test_a_checkpoint_below_a_file_is_an_error_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(IsopruneError, match=r"Cannot write the checkpoint .*(Not a directory|File exists)"):
        train(tmp_path / "file" / "dense")


def test_a_store_that_cannot_be_written_is_found_before_the_first_epoch(tmp_path):
    (tmp_path / "file").write_text("")
    rows = []
    with pytest.raises(IsopruneError):
        train(tmp_path / "file" / "dense", on_epoch=rows.append)
    assert not rows


def test_tensors_of_another_origin_are_not_written_over(tmp_path):
    file = tmp_path / "dense.safetensors"
    save_file({"weight": torch.zeros(3)}, file)
    before = file.read_bytes()
    with pytest.raises(IsopruneError, match=r"holds tensors of another origin\. Move it"):
        train(tmp_path / "dense")
    assert file.read_bytes() == before


class Tied(nn.Module):
    """Two layers that are one tensor, which safetensors alone would refuse."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 6, dtype=torch.float64)
        self.second = nn.Linear(6, 6, dtype=torch.float64)
        with torch.no_grad():
            for i, p in enumerate(self.parameters()):
                p.copy_(torch.linspace(-1, 1, p.numel()).reshape(p.shape) * (i + 1) / 9)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x.flatten(1)))


def test_tied_weights_resume_tied(tmp_path):
    def tied(path, **kw):
        splits = small_splits()
        return fit(Tied(), splits, **RECIPE, generator=seeded(), checkpoint=path, **kw)

    want = bits(tied(None))
    with pytest.raises(Killed):
        tied(tmp_path / "x", on_epoch=kill_after(1))
    got = tied(tmp_path / "x")
    assert got[0].first.weight is got[0].second.weight
    assert bits(got) == want


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (3, 4)])
def test_reading_inverts_writing(tmp_path, dtype, shape):
    tensors = {"a": torch.randn(shape, generator=seeded()).mul(9).to(dtype), "b": torch.arange(3).flip(0)}
    facts = {"history": [{"loss": 0.1 + 0.2, "lr": 1e-300}], "words": "σ × é"}
    checkpoint.write(tmp_path / "x", tensors, facts)
    got, same = checkpoint.read(tmp_path / "x") or ({}, {})
    assert same == facts
    assert got.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert got[name].dtype == tensor.dtype
        assert torch.equal(got[name], tensor)
    assert checkpoint.read(tmp_path / "absent") is None


def test_a_digest_tells_names_types_shapes_and_values_apart():
    zeros = torch.zeros(6)
    kinds = [
        {"a": zeros},
        {"b": zeros},
        {"a": zeros.view(2, 3)},
        {"a": zeros.to(torch.int32)},
        {"a": torch.zeros(6).index_fill(0, torch.tensor([5]), 1)},
        {"a": -zeros},
        {"a": zeros, "b": zeros},
    ]
    assert len({checkpoint.digest(kind) for kind in kinds}) == len(kinds)
    assert checkpoint.digest({"a": zeros, "b": zeros + 1}) == checkpoint.digest({"b": zeros + 1, "a": zeros})
    assert checkpoint.digest({"a": torch.arange(6).view(2, 3).T}) == checkpoint.digest(
        {"a": torch.arange(6).view(2, 3).T.contiguous()}
    )


def test_what_is_kept_is_there_before_the_checkpoint_of_its_epoch(tmp_path):
    want = bits(train(None))
    seen: dict[int, torch.Tensor] = {}
    written: list[int] = []

    def keep(epoch: int, model: nn.Module) -> None:
        assert not any(m.training for m in model.modules())
        found = checkpoint.read(tmp_path / "dense.safetensors")
        assert [row["epoch"] for row in found[1]["history"]] == list(range(epoch)) if found else epoch == 0
        seen[epoch] = model[1].weight.detach().clone()
        written.append(epoch)

    with pytest.raises(Killed):
        train(tmp_path / "dense", keep=keep, on_epoch=kill_after(2))
    got = train(tmp_path / "dense", keep=keep)
    assert bits(got) == want
    assert written == [0, 1, 2, 3, 4]
    assert [row["norm"] for row in got[1]] == [w.norm().item() for w in seen.values()]
    assert torch.equal(seen[0], small_net(torch.float32)[1].weight)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((3,), r"saving is 3\. Give a path"),
        (("",), r"saving is ''\. Give a path"),
        (("p", 0), r"Saving\.steps is 0\. Give a whole number, 1 or more"),
        (("p", 1.5), r"Saving\.steps is 1\.5\. Give a whole number, 1 or more"),
        (("p", None, -1), r"Saving\.seconds is -1\. Give a number, 0 or more"),
        (("p", None, math.nan), r"Saving\.seconds is nan\. Give a number, 0 or more"),
    ],
)
def test_a_checkpoint_has_a_path_and_a_pace(given, message):
    with pytest.raises(IsopruneError, match=message):
        Saving(*given)


def test_retraining_says_that_it_saves_to_a_path():
    with pytest.raises(IsopruneError, match=r"saving is 3\. Give a path"):
        isoprune.retrain(small_net(), small_splits(), lr=0.1, epochs=1, saving=3)
