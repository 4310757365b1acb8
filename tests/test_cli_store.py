"""The command line on a finished store: reports and diagnoses of its records."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import refused
from experiment.tiny import CONFIG, one_thread
from isoprune.cli import main
from isoprune.experiment.grid import expand
from isoprune.experiment.networks import load_network
from isoprune.experiment.pipeline import run
from isoprune.experiment.store import Store
from isoprune.experiment.study import plan_work, write_listing
from recipes import network


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return the store of a finished study of two runs."""
    made = Store(tmp_path_factory.mktemp("cli") / "runs")
    study = expand(CONFIG | {"study": {"repair": ["none", "orthp"]}}, name="two")
    with one_thread():
        for experiment in study.experiments:
            run(experiment, made, name="two")
    write_listing(plan_work(study, made))
    return made


@pytest.fixture
def record(store: Store) -> tuple[Path, dict[str, Any]]:
    for path in (store.root / "runs").glob("*/record.json"):
        record = json.loads(path.read_text())
        if record["config"]["repair"]["name"] == "orthp":
            return path, record
    raise AssertionError


@pytest.fixture
def read_only() -> Iterator[set[Path]]:
    """Give the folders in which this process fails to open files for writing, whatever asks for it."""
    folders: set[Path] = set()

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        writing = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if folders and writing and not isinstance(arguments[0], int):
            path = Path(os.fsdecode(arguments[0]))
            if any(path.is_relative_to(folder) for folder in folders):
                raise OSError(errno.EROFS, "Read-only file system", str(path))

    sys.addaudithook(refuse)  # it cannot be taken back; without folders it refuses nothing
    yield folders
    folders.clear()


@pytest.mark.matrix
def test_finished_store_can_be_read_where_it_cannot_be_written(
    store: Store, record: tuple[Path, dict], read_only: set[Path], tmp_path: Path, capsys: Any
):
    """Reports and diagnoses work without opening anything in the store for writing."""
    read_only.add(store.root)
    with pytest.raises(OSError, match="Read-only"):
        (store.root / "new").write_text("")
    listed = sorted(store.root.rglob("*"))
    assert main(["report", str(store.root), "--out", str(tmp_path / "page.html")]) == 0
    assert main(["diagnose", str(record[0])]) == 0
    assert sorted(store.root.rglob("*")) == listed


def test_report_of_a_study_has_its_runs_and_its_name(store: Store, tmp_path: Path, capsys: Any):
    page = tmp_path / "new" / "page.html"
    listing = store.root / "studies" / "two.json"
    assert main(["report", str(listing), str(store.root), "--out", str(page), "--figures", "svg"]) == 0
    out = capsys.readouterr().out
    assert f"Page: {page}" in out.replace("\n", "")
    assert "two" in page.read_text(encoding="utf-8")
    assert list(page.parent.glob("*.svg"))


def test_report_of_a_study_without_a_finished_run_is_refused(capsys: Any, tmp_path: Path):
    study = expand(CONFIG, name="empty")
    write_listing(plan_work(study, Store(tmp_path)))
    line = refused(capsys, "report", tmp_path / "studies" / "empty.json")
    assert "No run of" in line
    assert "Start it: isoprune study empty.toml" in line


def test_diagnosis_of_a_record_is_about_its_pruned_network_and_what_repair_restored(
    record: tuple[Path, dict], capsys: Any
):
    path, content = record
    assert main(["diagnose", str(path), "--samples", "4"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("pruned mlp_7")
    for stage in ("pruned", "dense"):
        assert f"{network(content, stage)['jsv']['mean']:.3g}" in out
    assert f"Repair orthp brings the mean to {network(content, 'repaired')['jsv']['mean']:.3g}" in out
    assert main(["diagnose", str(path.parent), "--stage", "retrained"]) == 0
    assert capsys.readouterr().out.startswith("retrained mlp_7")


def test_diagnosis_of_a_folder(store: Store, record: tuple[Path, dict], capsys: Any):
    folder = store.folder(network(record[1], "dense")["digest"])
    assert main(["diagnose", str(folder), "--data", "digits", "--samples", "4"]) == 2
    assert re.search(
        r"--data digits has inputs of shape \(1, 32, 32\), the network takes", capsys.readouterr().err
    )
    assert main(["diagnose", str(folder), "--samples", "4"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("dense mlp_7")
    assert f"{network(record[1], 'dense')['jsv']['mean']:.3g}" in out


def test_diagnosis_of_a_record_as_numbers_and_with_its_dense_network_by_name(
    store: Store, record: tuple[Path, dict], tmp_path: Path, capsys: Any
):
    path, content = record
    dense = store.folder(network(content, "dense")["digest"])
    pruned = store.folder(network(content, "pruned")["digest"])
    found = []
    for number, words in enumerate(([path], [pruned, "--dense", dense], [pruned, "--dense", path])):
        out = tmp_path / f"{number}.json"
        assert (
            main(["diagnose", *map(str, words), "--samples", "4", "--repairs", "none", "--out", str(out)])
            == 0
        )
        found.append(json.loads(out.read_text()))
    assert [network["role"] for network in found[0]["networks"]] == ["dense", "own", "repaired"]
    assert found[0]["networks"][1]["name"] == "pruned"
    for key in ("jsv_mean", "dense_jsv_mean", "jsv_ratio"):
        assert found[0]["numbers"][key] == found[1]["numbers"][key] == found[2]["numbers"][key]
    page = tmp_path / "page.html"
    assert main(["diagnose", str(path), "--samples", "4", "--out", str(page)]) == 0
    assert found[0]["restored"][0].split(",")[0] in page.read_text(encoding="utf-8")


def test_bad_diagnoses_are_refused(store: Store, record: tuple[Path, dict], tmp_path: Path, capsys: Any):
    folder = store.folder(network(record[1], "dense")["digest"])
    assert "is one network, of stage dense" in refused(capsys, "diagnose", folder, "--stage", "pruned")
    assert "holds no finished network" in refused(capsys, "diagnose", tmp_path)
    broken = tmp_path / "dense" / folder.name
    shutil.copytree(folder, broken)
    (broken / "model.safetensors").write_bytes(b"")
    assert "is damaged: it has 0 bytes" in refused(capsys, "diagnose", broken)
    load_network(folder)
    (tmp_path / "record.json").write_text("{}")
    assert "is not a record" in refused(capsys, "diagnose", tmp_path / "record.json")
