"""README: its picture and numbers are those of the study, its ten lines run, its links lead somewhere."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import isoprune
from experiment.tiny import one_thread, tiny
from isoprune.experiment.pipeline import run
from isoprune.experiment.store import Store

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def make_model() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


def test_the_ten_lines_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    section = README.partition("## Ten lines\n")[2].partition("\n## ")[0]
    lines, more = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(lines.splitlines()) == 10
    torch.manual_seed(0)
    with one_thread():
        run(
            tiny(dense={"epochs": 1, "lr": 0.05, "batch": 50}, retrain={"epochs": 0}, repair="none"),
            Store(Path("runs")),
        )
        x = torch.randn(80, 1, 8, 8)
        y = x.flatten(1)[:, :10].argmax(1)
        loader = DataLoader(TensorDataset(x[:60], y[:60]), batch_size=20)
        names: dict[str, Any] = {
            "model": make_model(),
            "make_model": make_model,
            "example_inputs": x[:2],
            "loader": loader,
            "val": DataLoader(TensorDataset(x[60:], y[60:]), batch_size=20),
            "test": [(x[60:], y[60:])],
            "inputs": x[:5],
        }
        exec(lines + more, names)
    small = names["small"]
    assert [entry["step"] for entry in small.history] == ["prune", "repair", "retrain", "prune"]
    assert torch.equal(isoprune.load("small/", build=make_model)(x), small.model(x))
    assert names["sigma"].shape == (5, 10)
    assert len(names["frame"]) == 1
    assert Path("small.onnx").exists()


def test_the_picture_has_the_numbers_of_the_study():
    stages = runpy.run_path(str(ROOT / "docs/figures/stages.py"))
    rows = {(row["method"], row["stage"]): row["accuracy"] for row in stages["points"]().to_dicts()}
    assert (rows["as pruned", "after 1 epoch"], rows["repaired by isoprune", "after 1 epoch"]) == (25.2, 80.0)
    study = (ROOT / "docs/repairs-study.md").read_text(encoding="utf-8")
    assert f"(dense: {rows['as pruned', 'dense']})" in study
    drawn = (ROOT / "docs/figures/stages.svg").read_text(encoding="utf-8")
    shown = set(re.findall(r">(\d+)</text>", drawn))
    assert {f"{value:.0f}" for value in rows.values()} <= shown


@pytest.mark.parametrize(
    "file", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda f: f.name
)
def test_links_lead_to_files_and_headings(file: Path):
    text = re.sub(r"```.*?```", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, heading = target.partition("#")
        there = file.parent / path if path else file
        assert there.exists(), f"{file.name} links {target}"
        if heading and there.suffix == ".md":
            titles = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in slugs, f"{file.name} links {target}"
