"""A saved directory from a stranger, or from a bad disk: one line of error, never code or a wrong network."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import random
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from isoprune.export import load, save
from isoprune.types import IsopruneError
from isoprune.types.json_files import sealed

from .networks import Convolutions, bits


@pytest.fixture
def copy(saved, tmp_path) -> Path:
    there = tmp_path / "copy"
    there.mkdir()
    for file in saved.iterdir():
        (there / file.name).write_bytes(file.read_bytes())
    return there


def forge(directory: Path, **changes) -> None:
    """Change plan.json and sign it anew, as an attacker can; a function is given the old value."""
    facts = json.loads((directory / "plan.json").read_text())
    for key, value in changes.items():
        facts[key] = value(facts[key]) if callable(value) else value
    (directory / "plan.json").write_bytes(sealed(facts))


def resign(directory: Path) -> None:
    forge(directory, sha256=hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest())


def refused(directory: Path, build=Convolutions) -> str:
    with pytest.raises(IsopruneError) as error:
        load(directory, build=build)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_forging_itself_changes_nothing(copy, good):
    """So that what is refused below is refused for its content, not for its signature."""
    forge(copy)
    resign(copy)
    assert bits(load(copy, build=Convolutions)) == good


@pytest.mark.parametrize("name", ["model.safetensors", "plan.json"])
def test_missing_files(copy, name):
    (copy / name).unlink()
    assert name in refused(copy)


def test_no_directory_at_all(tmp_path):
    assert "holds no saved network" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["model.safetensors", "plan.json"])
def test_every_truncation_is_noticed(copy, name):
    whole = (copy / name).read_bytes()
    for length in sorted({0, 1, 7, 8, len(whole) // 2, len(whole) - 3}):
        (copy / name).write_bytes(whole[:length])
        assert "is damaged" in refused(copy)


@pytest.mark.parametrize("name", ["model.safetensors", "plan.json"])
def test_a_flipped_bit_anywhere_is_noticed(copy, good, name):
    whole = bytearray((copy / name).read_bytes())
    places = random.Random(0).sample(range(len(whole)), 60)
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << (place % 8)
        (copy / name).write_bytes(flipped)
        refused(copy)


def test_a_newer_version_says_update(copy):
    forge(copy, version=2, isoprune="9.9")
    assert "version 2, of isoprune '9.9'; this reads to version 1. Update it: pip install" in refused(copy)


@pytest.mark.parametrize(
    "text", ["[]", "3", '{"a": 1}', '"isoprune network"', "[" * 10**5, "1" * 10**4, "{", ""]
)
def test_some_other_json(copy, text):
    (copy / "plan.json").write_text(text)
    refused(copy)


ATTRIBUTES = [
    {"": {"__class__": 3}},
    {"": {"_parameters": 3}},
    {"stem": {"__dict__": [1, 2]}},
    {"stem": {"forward": 3}},
    {"stem": {"weight": 3}},
    {"stem": {"training": 1}},
    {"stem": {"padding_mode": 3}},
    {"stem": {"out_channels": "9"}},
    {"stem": {"out_channels": True}},
    {"stem": {"out_channels": 9.5}},
    {"stem": {"out_channels": [9]}},
    {"stem": {"out_channels": {"a": 1}}},
    {"stem": {"out_channels": 2**70}},
    {"stem": {"kernel_size": [3]}},
    {"stem": {"kernel_size": [3, "os.system"]}},
    {"stem": {"kernel_size": []}},
    {"stem.weight": {"requires_grad": 1}},
    {"../../etc": {"passwd": 1}},
    {"os": {"path": 1}},
    {"stem": []},
    [],
    "attributes",
]


@pytest.mark.parametrize("attributes", ATTRIBUTES, ids=repr)
def test_only_sizes_that_the_class_has_can_be_set(copy, attributes):
    forge(copy, attributes=attributes)
    before = dict(vars(nn.Conv2d))
    refused(copy)
    assert dict(vars(nn.Conv2d)) == before


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [2**40, 3, 3, 3]},
        {"shape": [9, 3, 3, -3]},
        {"shape": [9, 3, 3, True]},
        {"shape": [9, 3, 3]},
        {"shape": "9333"},
        {"dtype": "float33"},
        {"dtype": "__class__"},
        {"dtype": ["float32"]},
        {"dense": [2**40, 3, 3, 3]},
        {"dense": {}},
    ],
    ids=repr,
)
def test_shapes_that_cannot_be(copy, change):
    forge(copy, tensors=lambda t: t | {"stem.weight": t["stem.weight"] | change})
    refused(copy)


def test_a_giant_tensor_is_refused_before_memory_is_asked_for(copy):
    huge = {"shape": [2**36], "dtype": "float32", "dense": [2**36]}
    names = len(json.loads((copy / "plan.json").read_text())["tensors"])
    forge(copy, tensors=lambda t: dict.fromkeys(t, huge))
    assert "is damaged: it has" in refused(copy)
    with (copy / "model.safetensors").open("r+b") as file:
        file.truncate(names * 2**38)  # sparse: of the size that is said
    assert "another make" in refused(copy)


def test_a_giant_file_is_refused_before_it_is_read(copy):
    with (copy / "model.safetensors").open("r+b") as file:
        file.truncate(2**42)  # sparse: four terabytes that take no room
    assert "is damaged: it has 4,398,046,511,104 bytes" in refused(copy)
    with (copy / "plan.json").open("r+b") as file:
        file.truncate(2**42)
    assert "no such file has more than 16,777,216" in refused(copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"class": "\x1b]0;your terminal is mine\x07"},
        {"class": "two\nlines"},
        {"tensors": lambda t: t | {"\x1b[2J": t["stem.weight"]}},
        {"tied": {"\x1b[2J": "stem.weight"}},
        {"attributes": {"\x1b[2J": {"out_channels": 3}}},
        {"attributes": {"stem": {"\x1b[2J": 3}}},
        {"version": "\x1b[2J"},
        {"version": 2, "isoprune": "\x1b[2J\n"},
        {"sha256": "\x1b[2J"},
    ],
    ids=lambda c: "-".join(c),
)
def test_messages_carry_no_escape_sequences(copy, changes):
    forge(copy, **changes)
    assert "\x1b" not in refused(copy)


@pytest.mark.parametrize("sha256", ["../../secret", "", "g" * 64, 5, None, "0" * 64])
def test_a_digest_that_is_none(copy, sha256):
    forge(copy, sha256=sha256)
    assert "is damaged" in refused(copy)


class Canary:
    fired: list[str] = []  # noqa: RUF012

    def __reduce__(self):
        return Canary.fired.append, ("code ran",)


def pickled(kind: str) -> bytes:
    if kind != "torch":
        return pickle.dumps(Canary(), protocol=int(kind))
    file = io.BytesIO()
    torch.save({"stem.weight": Canary()}, file)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["0", "2", "4", "torch"])
def test_pickles_are_not_opened(copy, kind):
    content = pickled(kind)
    size = (copy / "model.safetensors").stat().st_size
    (copy / "model.safetensors").write_bytes(content + b"\0" * (size - len(content)))
    resign(copy)
    assert "is damaged" in refused(copy)
    (copy / "plan.json").write_bytes(content)
    refused(copy)
    assert Canary.fired == []


def test_the_loader_knows_no_pickle():
    folder = Path(sys.modules["isoprune.export.checkpoint"].__file__).parent
    for name in ("checkpoint", "manifest", "folder"):
        text = (folder / f"{name}.py").read_text().replace("no pickle", "")
        assert not any(word in text for word in ("pickle", "torch.load", "eval(", "exec(", "import_module"))


def test_swapped_weights_with_a_good_signature_still_have_to_fit(copy, tmp_path):
    other = save(nn.Sequential(nn.Linear(3, 3)), tmp_path / "other")
    (copy / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    resign(copy)
    assert "is damaged" in refused(copy)


def test_links_out_of_the_directory_are_read_as_weights_or_not_at_all(copy, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("the user's own secret")
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors").symlink_to(secret)
    assert "secret" not in refused(copy).replace(str(tmp_path), "")
    (copy / "plan.json").unlink()
    (copy / "plan.json").symlink_to(secret)
    assert "own" not in refused(copy).replace(str(tmp_path), "")
