"""The code of docs/migration.md runs, and does what it is put beside."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

import isoprune
from experiment.tiny import one_thread

PAGE = (Path(__file__).parents[1] / "docs/migration.md").read_text(encoding="utf-8")


class Net(nn.Module):
    """Two layers of convolutions and a Linear, by the names that the page uses."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU())
        self.layer2 = nn.Sequential(nn.Conv2d(16, 32, 3), nn.ReLU())
        self.fc = nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.layer2(self.layer1(x)).mean((2, 3)))


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    x = torch.randn(8, 3, 8, 8)
    loader = [(x, torch.arange(8) % 4)]
    return {"model": Net().eval(), "example_inputs": x[:2], "loader": loader, "isoprune": isoprune}


def code(title: str) -> list[str]:
    """Return the isoprune blocks of a section."""
    [section] = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def run(title: str, names: dict[str, Any]) -> dict[str, Any]:
    with one_thread():
        for block in code(title):
            exec(block, names)
    return names


def test_every_python_block_stands_in_a_section_that_is_run():
    titles = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    assert titles == ["Torch-Pruning", "NNI", "NNCF", "torch.nn.utils.prune", "torchao and torch.ao.pruning"]
    assert sum(len(code(title)) for title in titles) == PAGE.count("```python\n")


def test_torch_pruning(names: dict[str, Any]):
    first, second = code("Torch-Pruning")
    exec(first, names)
    saved = isoprune.load("small", build=Net)
    assert saved.layer1[0].out_channels == 8
    assert names["model"].layer1[0].out_channels == 16
    exec(second, names)
    # 16 and 32 channels, less 50 and 25 %, then less a fifth of what is left.
    widths = [names["small"].model.layer1[0].out_channels, names["small"].model.layer2[0].out_channels]
    assert widths == [6, 19]


def test_nni_and_nncf_mask_first_and_shrink_to_the_same_function(names: dict[str, Any]):
    for title in ("NNI", "NNCF"):
        run(title, names)
        small, masked = names["small"], names["masked"]
        assert small.model.layer2[0].out_channels == 16
        x = names["example_inputs"]
        torch.testing.assert_close(small.model(x), masked.model(x))


def test_torch_prune_zeroes_the_same_weights(names: dict[str, Any]):
    run("torch.nn.utils.prune", names)
    for name in ("layer1.0", "layer2.0"):
        theirs = nn.Conv2d(1, 1, 1)
        theirs.weight = nn.Parameter(names["model"].get_submodule(name).weight.detach().clone())
        torch_prune.l1_unstructured(theirs, "weight", amount=0.5)
        ours = names["plain"].model.get_submodule(name).weight
        assert torch.equal(ours, theirs.weight)
        assert type(names["plain"].model.get_submodule(name)) is nn.Conv2d


def test_two_of_four_stay(names: dict[str, Any]):
    run("torchao and torch.ao.pruning", names)
    kept = names["masked"].model.fc.weight.detach() != 0
    assert (kept.view(-1, 4).sum(1) == 2).all()


def test_the_reference_has_every_public_name():
    page = (Path(__file__).parents[1] / "docs/api.md").read_text(encoding="utf-8")
    described = re.findall(r"^\.\. auto\w+:: isoprune\.(\w+)$", page, re.MULTILINE)
    assert sorted(described) == sorted(set(isoprune.__all__) - {"data", "models"})
