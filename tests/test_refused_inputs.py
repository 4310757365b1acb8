"""What a command is given by mistake: one line says so, at once, whatever stands in the place of a file."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from damage import in_time
from isoprune.cli import main

TOML = """
[data]
name = "digits"
[model]
name = "mlp_7"
[dense]
epochs = 1
lr = 0.05
[prune]
ratio = 0.5
[retrain]
epochs = 0
"""
NET = ("prune", "diagnosed_nets:Net", "--shape", "1,1,8,8")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("e.toml").write_text(TOML)


def refused(capsys: Any, *words: object) -> str:
    with in_time():
        assert main([str(word) for word in words]) == 2
    out, line = capsys.readouterr()
    assert out == ""
    assert line.startswith("isoprune: ")
    assert line.count("\n") == 1
    assert line[:-1].isprintable()
    return line


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (f"seed={2**63}", "must be at most"), ("seed=-1", "must be at least 0"),
        ("dense.epochs=1000000000000000000", "must be at most 1000000"), (f"dense.batch={10**30}", "at most"),
        ("prune.ratio=nan", "outside"), ("prune.ratio=1", "outside"), ("a=" + "[" * 5000, "not a TOML value"),
        ("a={" + "b={" * 3000, "not a TOML value"),
    ],
)  # fmt: skip
def test_numbers_that_nothing_can_be_made_of(capsys, setting, said):
    assert said in refused(capsys, "run", "e.toml", "--set", setting)


def test_a_grid_is_counted_before_it_is_made(capsys):
    axis = str(list(range(1, 1001)))
    axes = "".join(f'"{key}" = {axis}\n' for key in ("seed", "dense.epochs", "dense.batch"))
    Path("grid.toml").write_text(f"{TOML}[study]\n{axes}")
    assert "1,000,000,000 combinations" in refused(capsys, "study", "grid.toml")


def _text(path: Path) -> None:
    path.write_text("[" * 100_000)


ODD: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a directory": Path.mkdir,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "deep": _text,
    "a terabyte": lambda path: path.open("wb").truncate(2**40),
    "nothing": lambda _: None,
}


@pytest.mark.filterwarnings("ignore:unclosed file")
@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize(
    "command",
    [("run", "x.toml"), ("study", "x.toml"), ("compare", "x.json"), ("report", "x.json"),
     ("diagnose", "x.json"), (*NET, "--ratio", "0.5", "--weights", "x.pth"),
     (*NET, "--ratio", "0.5", "--weights", "x.safetensors")],
    ids=lambda c: f"{c[0]} {c[-1]}",
)  # fmt: skip
def test_something_else_in_the_place_of_a_file(capsys, what, command):
    ODD[what](Path(command[-1]))
    refused(capsys, *command)


@pytest.mark.parametrize("place", ["x" * 300, "a/" * 2500 + "x", "e.toml/x"])
@pytest.mark.parametrize(
    "command",
    [("run", "{}.toml"), ("report", "{}"), ("diagnose", "{}"), (*NET, "--ratio", "0.5", "--out", "{}")],
    ids=lambda c: f"{c[0]} {c[-1]}",
)  # fmt: skip
def test_paths_that_cannot_be(capsys, command, place):
    refused(capsys, *(word.replace("{}", place) for word in command))


@pytest.mark.parametrize(
    "options",
    [("--flops", 2), ("--flops", 0), ("--parameters", -1), ("--latency", 2), ("--latency", "nan"),
     ("--latency", -1), ("--ratio", "nan"), ("--only", "a=7"), ("--only", "a=nan"),
     ("--ratio", 0.5, "--seed", 2**63), ("--ratio", 0.5, "--seed", 2**70), ("--ratio", 0.5, "--seed", -1),
     ("--ratio", 0.5, "--threads", 10**9), ("--ratio", 0.5, "--shape", 10**20),
     ("--ratio", 0.5, "--weights", "e.toml")],
)  # fmt: skip
def test_targets_and_sizes_out_of_range(capsys, options):
    refused(capsys, *NET[:2], *(() if "--shape" in options else NET[2:]), *options)


@pytest.mark.parametrize("verb", ["diagnose", "advise"])
def test_seeds_and_samples_out_of_range(capsys, verb):
    more = ("--epochs", 1) if verb == "advise" else ()
    for option in (("--seed", 2**63), ("--seed", -1), ("--samples", 10**11), ("--samples", 0)):
        refused(capsys, verb, NET[1], *more, *option)


def changed(**tensors: Any) -> dict[str, Any]:
    import diagnosed_nets

    return {**diagnosed_nets.Net().state_dict(), **tensors}


def _weights() -> dict[str, Callable[[Path], object]]:
    head = torch.zeros(10, 24)
    odd = {
        "NaN": torch.full((10, 24), torch.nan), "whole numbers": head.to(torch.uint8),
        "complex": head.to(torch.complex64), "sparse": head.to_sparse(), "of another type": head.half(),
        "of another shape": torch.zeros(10, 23), "on no device": head.to("meta"),
    }  # fmt: skip
    made = {
        name: lambda path, t=t: torch.save(changed(**{"head.weight": t}), path) for name, t in odd.items()
    }
    return made | {
        "a text": lambda path: path.write_text("hello world\n"),
        "nothing": lambda path: path.touch(),
        "a list": lambda path: torch.save([1, 2], path),
        "nested": lambda path: torch.save({"state_dict": {"model": {"net": {}}}}, path),
        "packed": _packed,
    }


def _packed(path: Path) -> None:
    torch.save(changed(), "plain.pth")
    with zipfile.ZipFile("plain.pth") as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in plain.infolist():
            packed.writestr(entry.filename, bytes(10**7) if "data/0" in entry.filename else plain.read(entry))


@pytest.mark.parametrize("what", _weights())
def test_weights_that_are_none(capsys, what):
    _weights()[what](Path("w.pth"))
    refused(capsys, *NET, "--ratio", "0.5", "--weights", "w.pth", "--out", "small")
    assert not Path("small").exists()
