"""Smoke studies from end to end: their runs, what they share, their pages, and the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from isoprune.cli import main
from isoprune.comparison import Setup, setup_of
from isoprune.comparison.records import read_records
from isoprune.reproduction import REPRODUCTIONS, find
from isoprune.types.record import Record

SLOW = [name for name in REPRODUCTIONS if name not in ("value-of-pruning",)]


def reproduce(name: str, folder: Path, *more: str) -> int:
    return main(
        ["reproduce", name, "--scale", "smoke", "--store", str(folder / "runs"), "--out", str(folder), *more]
    )


def records(folder: Path, name: str) -> list[Record]:
    return read_records(folder / "runs" / "studies" / f"{name}-smoke.json")


@pytest.fixture(scope="module")
def value(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("value")
    assert reproduce("value-of-pruning", folder) == 0
    return folder


@pytest.mark.matrix
def test_the_added_runs_share_the_multiply_adds_of_scratch(value):
    reproduction = find("value-of-pruning")
    found = {
        place.row: seeds for place, seeds in reproduction.cells(records(value, reproduction.name)).items()
    }
    scratch = found.pop("scratch")
    shared = {row: setup_of(seeds[0], scratch[0]).shared for row, seeds in found.items()}
    assert Setup.SX_B in shared["pruned at 1/4 of its share of FLOPs, LR 1e-1"]
    assert Setup.SX_A in shared["pruned at 1/4, LR 1e-1"]
    assert Setup.SX_B not in shared["pruned at 1/4, LR 1e-1"]


@pytest.mark.matrix
def test_a_page_has_claims_both_tables_and_what_differs(value):
    page, plain = (value / f"value-of-pruning.{kind}" for kind in ("html", "md"))
    for text in (page.read_text(), plain.read_text()):
        assert "not testable at this scale" in text.lower()
        assert "85.48" in text  # published
        assert "image_folder" in text.replace("\\_", "_")  # what the paper reads
    assert "http://" not in page.read_text().split("<script")[0]


@pytest.mark.matrix
def test_again_it_is_read_from_the_store(value, capsys):
    before = (value / "value-of-pruning.md").read_text()
    assert reproduce("value-of-pruning", value) == 0
    assert "runs are in" in capsys.readouterr().err
    assert (value / "value-of-pruning.md").read_text() == before


@pytest.mark.matrix
@pytest.mark.parametrize("name", SLOW)
def test_every_smoke_study_runs_and_has_its_page(tmp_path, name):
    assert reproduce(name, tmp_path) == 0
    plain = (tmp_path / f"{name}.md").read_text()
    assert plain.count("**not testable at this scale**") == len(REPRODUCTIONS[name].claims)
    assert " of " not in plain.split("runs,")[0].splitlines()[-1]  # none is missing


def test_check_builds_prunes_and_verifies_and_trains_nothing(tmp_path, capsys):
    assert reproduce("jsv-vs-ratio", tmp_path, "--check") == 0
    out = capsys.readouterr().out
    assert "weights removed" in out
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lr-efect"], "Did you mean 'lr-effect'"),
        (["imagenet"], "imagenet has no size for a laptop"),
        (["lr-effect", "--scale", "huge"], "Unknown scale 'huge'"),
        (["lr-effect", "--scale", "smoke", "--set", "retrain.lrs=1"], "Unknown key 'retrain.lrs'"),
    ],
)
def test_wrong_input_is_one_line(tmp_path, capsys, words, said):
    assert main(["reproduce", *words, "--store", str(tmp_path / "runs"), "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_the_published_recipe_is_refused_where_it_would_take_days(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("isoprune.reproduction.days", lambda *_: 30.0)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    command = ["reproduce", "lr-effect", "--scale", "paper", "--store", str(tmp_path / "runs")]
    assert main(command) == 2
    assert "about 30 days on this machine. Take --scale laptop" in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())
