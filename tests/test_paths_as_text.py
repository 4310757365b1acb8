"""Whatever takes a path takes it as text, too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import isoprune
from experiment.tiny import one_thread, tiny
from isoprune.experiment import Store, load_network, read_experiment, read_study, run
from isoprune.reporting import export_figures


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_run_its_store_its_networks_and_its_page():
    with one_thread():
        record = run(tiny(repair="none"), Store("runs"))
        network, _ = load_network(f"runs/networks/{record.network('retrained').digest}")
    assert not network.training
    assert isoprune.report([record], "page.html") == Path("page.html")
    assert isoprune.report([record], "pages") == Path("pages/index.html")
    assert all(file.is_file() for file in export_figures([record], "figures", ["svg"]))


def test_files_of_experiments():
    table = {"data": "digits", "model": "mlp_7", "prune": {"ratio": 0.5}}
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items() if isinstance(value, str)]
    lines += ["dense = { epochs = 1, lr = 0.1 }", "prune = { ratio = 0.5 }", "retrain = { epochs = 0 }"]
    Path("one.toml").write_text("\n".join(lines), encoding="utf-8")
    assert read_experiment("one.toml") == read_study("one.toml").experiments[0]
