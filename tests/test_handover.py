"""What one command writes the next one takes, and what is printed as to be done next does run."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import isoprune
from data.painted import folder
from experiment.tiny import one_thread
from isoprune.cli import main
from isoprune.experiment.saved_models import open_pruned
from isoprune.export import manifest
from recipes import OF_PHOTOS, own_networks, refused, told

SMALL = {"red": 40, "green": 40, "blue": 40}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COLUMNS", "120")
    with one_thread(), own_networks(tmp_path, monkeypatch):
        yield


def runs(command: str, *more: str) -> None:
    words = shlex.split(command)
    assert words[0] == "isoprune"
    assert main([*words[1:], *more]) == 0


def after(said: str, title: str) -> str:
    [line] = re.findall(rf"^{title}: (.*)$", said, re.MULTILINE)
    return line


def test_a_saved_folder_is_loaded_and_pruned_on_as_printed(capsys: pytest.CaptureFixture[str]):
    said = told(capsys, "own_recipe_nets:conv", "--ratio", "0.5", out="small")
    loaded: dict = {}
    exec(after(said, "Load it"), loaded)
    x = torch.randn(2, 3, 12, 12)
    want = isoprune.load("small", build=lambda: sys.modules["own_recipe_nets"].Conv())(x)
    torch.testing.assert_close(loaded["model"](x), want)
    runs(after(said, "Prune it further"), "--out", "smaller")
    # Both rounds make one plan of the dense network: half of 8 channels, then two of the four that stayed.
    assert [
        int(kept.sum()) for kept in open_pruned("smaller", build="own_recipe_nets:conv")[1].plan.kept.values()
    ] == [2, 2]
    assert isoprune.load("smaller", build=lambda: sys.modules["own_recipe_nets"].Conv())(x).shape == (2, 3)


def test_a_folder_keeps_the_shape_of_its_input(capsys: pytest.CaptureFixture[str]):
    told(capsys, "own_recipe_nets:net", "--shape", "1,64", "--ratio", "0.5", out="small")
    assert manifest.read(Path("small")).in_shape == (1, 64)
    assert main(["prune", "small", "--build", "own_recipe_nets:net", "--ratio", "0.5", "--out", "again"]) == 0


def test_a_folder_that_names_a_function_says_how_to_allow_it(capsys: pytest.CaptureFixture[str]):
    told(capsys, "own_recipe_nets:conv", "--ratio", "0.5", out="small")
    line = refused(capsys, "small", "--ratio", "0.5")
    assert line.endswith("name it yourself: --build own_recipe_nets:conv")
    assert "saved network with its own weights" in refused(
        capsys, "small", "--build", "own_recipe_nets:conv", "--weights", "x.safetensors", "--ratio", "0.5"
    )
    assert "--build is for a saved folder" in refused(
        capsys, "own_recipe_nets:conv", "--build", "own_recipe_nets:conv", "--ratio", "0.5"
    )


@pytest.mark.matrix
def test_a_saved_folder_is_pruned_on_with_data_and_its_rounds_make_one_plan(capsys):
    folder(Path("photos"), SMALL)
    told(capsys, "own_recipe_nets:conv", "--ratio", "0.5", out="small")
    words = ("small", "--ratio", "0.5", "--data", "photos", "--epochs", "1", "--dense-epochs", "1")
    assert "name it yourself: --build own_recipe_nets:conv" in refused(capsys, *words)
    said = told(capsys, *words, "--build", "own_recipe_nets:conv")
    assert told(capsys, *words, "--build", "own_recipe_nets:conv") == said
    _, pruned = open_pruned("o", build="own_recipe_nets:conv")
    assert [int(kept.sum()) for kept in pruned.plan.kept.values()] == [2, 2]
    assert [len(kept) for kept in pruned.plan.kept.values()] == [8, 8]
    *_, diagnose, advise, prune = (line.strip() for line in said.splitlines())
    runs(diagnose, "--repairs", "none")
    runs(advise, "--steps", "4", "--rates", "0.01")
    runs(prune)
    capsys.readouterr()  # what advise says of its progress
    # Another network in that folder is another recipe.
    told(capsys, "own_recipe_nets:conv", "--ratio", "0.25", out="small")
    assert "o holds another recipe: model.@content is" in refused(
        capsys, *words, "--build", "own_recipe_nets:conv"
    )


@pytest.mark.matrix
def test_what_follows_a_delivery_runs_as_printed(capsys: pytest.CaptureFixture[str]):
    folder(Path("photos"), SMALL)
    said = told(
        capsys,
        *OF_PHOTOS,
        out="o p",
    )
    *_, diagnose, advise, prune = (line.strip() for line in said.splitlines())
    assert (diagnose, advise) == (
        "isoprune diagnose 'o p' --build own_recipe_nets:conv",
        "isoprune advise 'o p' --build own_recipe_nets:conv --epochs 10",
    )
    runs(diagnose, "--repairs", "none")
    assert capsys.readouterr().out.startswith("retrained own_recipe_nets:conv")
    runs(advise, "--steps", "4", "--rates", "0.01")
    runs(prune)
    runs("isoprune report 'o p' --out r.html")
    # The program beside the ONNX file sees what the network was measured on.
    splits = isoprune.data.DATA_SETS["image_folder"](Path("photos"), seed=0, size=12)
    assert splits.names == ("blue", "green", "red")
    [(x, _)] = splits.test.batches([torch.arange(6)])
    model = isoprune.load("o p/network", build=lambda: sys.modules["own_recipe_nets"].Conv())
    names = [str(Path("photos") / name) for name in splits.test.files[:6]]
    capsys.readouterr()
    program = after(said, "Classify images").removeprefix("python ").removesuffix(" IMAGE ...")
    sys.argv = [program, *names]
    batches = runpy.run_path(program)
    torch.testing.assert_close(torch.from_numpy(batches["batch"]), x[-1:], rtol=0, atol=1e-6)
    want = [splits.names[i] for i in model(x).argmax(1).tolist()]
    assert capsys.readouterr().out.splitlines() == [f"{n} {w}" for n, w in zip(names, want, strict=True)]
