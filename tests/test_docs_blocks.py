"""Every block of code in the documentation runs: Python as it stands, commands are parsed, TOML resolves.

docs/migration.md and gallery.md have tests of their own, which also look at what comes out.
"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import isoprune
from experiment.tiny import CONFIG, one_thread, tiny
from isoprune.cli import VERBS, parse
from isoprune.comparison.records import read_records
from isoprune.data import load
from isoprune.experiment.config import experiment
from isoprune.experiment.pipeline import run
from isoprune.experiment.resolve import resolve
from isoprune.experiment.store import Store
from isoprune.types.task import Metric

ROOT = Path(__file__).parents[1]
OTHERS = ("gallery.md", "migration.md")
PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in OTHERS]


def blocks(page: Path, *languages: str) -> list[str]:
    kinds = "|".join(languages)
    return [found[1] for found in re.finditer(rf"^```(?:{kinds})\n(.*?)^```", page.read_text(), re.S | re.M)]


def with_blocks(*languages: str) -> Any:
    pages = [page for page in PAGES if blocks(page, *languages)]
    return pytest.mark.parametrize("page", pages, ids=lambda page: page.name)


class Net(nn.Module):
    """An attention of three heads, written out, between Linear layers, on images of 8 x 8."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = 3
        self.read, self.qkv = nn.Linear(8, 12), nn.ModuleList(nn.Linear(12, 12) for _ in range(3))
        self.out, self.head = nn.Linear(12, 12), nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.read(x.reshape(len(x), 8, 8))
        q, k, v = (part(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv)
        seen = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.head((x + self.out(seen.transpose(1, 2).flatten(2))).mean(1))


def counts(outputs: torch.Tensor, batch: Any) -> torch.Tensor:
    return (outputs.argmax(1) == batch[1]).sum()


def make_model() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with a few tiny runs."""
    where = tmp_path_factory.mktemp("docs") / "runs"
    with one_thread():
        for seed in (0, 1):
            for repair in ("none", "orthp"):
                run(tiny(repair=repair, seed=seed), Store(where))
    return where


@pytest.fixture
def names(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Yield what the pages speak of by name."""
    monkeypatch.chdir(tmp_path)
    Path("runs").symlink_to(store)
    torch.manual_seed(0)
    splits = load("digits", limit=150, size=8, seed=0)
    x, y = splits.train.inputs, splits.train.targets
    loader = DataLoader(TensorDataset(x[:60], y[:60]), batch_size=20)
    val = DataLoader(TensorDataset(x[60:90], y[60:90]), batch_size=20)
    model = make_model().eval()
    records = read_records("runs")
    with one_thread():
        small = isoprune.prune(model, x[:2], 0.5)
        yield {
            "Path": Path, "json": json, "torch": torch, "nn": nn, "isoprune": isoprune,
            "model": model, "make_model": make_model, "example_inputs": x[:2],
            "loader": loader, "train": loader, "val": val, "validation": val, "splits": splits,
            "small": small, "result": small, "repaired": small, "dense": model, "batches": loader,
            "start": model, "a": model, "b": make_model().eval(),
            "records": records, "how": {"lr": 0.01, "batch": 20}, "schedule": lambda _: 1.0,
            "generator": torch.Generator().manual_seed(0),
            "Metric": Metric, "counts": counts, "value": float, "function": counts,
        }  # fmt: skip


def of_page(page: Path, names: dict[str, Any]) -> dict[str, Any]:
    """Return the names of a page that uses some in a sense of its own."""
    if page.name == "comparison.md":
        names["a"], names["b"] = names["records"][:2]
    if page.name == "pruning.md":
        names["model"] = Net().eval()
    if page.name == "curvature.md":
        convolutions = nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3)
        names["model"] = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(64, 10)).eval()
    return names


@with_blocks("python")
def test_python_runs_as_it_stands(page: Path, names: dict[str, Any]):
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), of_page(page, names))


@with_blocks("bash", "console")
def test_commands_are_understood(page: Path):
    text = "\n".join(blocks(page, "bash", "console"))
    commands = re.findall(r"^(?:\$ )?(isoprune .*)$", text, re.MULTILINE)
    assert commands or not re.search(r"\bisoprune [a-z]", text)
    for command in commands:
        _, verb, *words = shlex.split(command, comments=True)
        assert verb in VERBS
        parse(verb, *words)


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = {**base}
    for key, value in over.items():
        old = both.get(key)
        tables = isinstance(old, dict) and isinstance(value, dict) and "name" not in value
        both[key] = merged(old, value) if tables else value
    return both


@with_blocks("toml")
def test_configs_resolve(page: Path):
    for block in blocks(page, "toml"):
        config = tomllib.loads(block)
        config.pop("study", None)
        base = CONFIG | {part: CONFIG[part] | {"epochs": 90} for part in ("dense", "retrain")}
        resolve(experiment(config if "steps" in config else merged(base, config)))
