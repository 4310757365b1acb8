"""Every example runs, is short, and shows what it says."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


def example(name: str):
    (file,) = [f for f in EXAMPLES if f.stem == name]
    return runpy.run_path(str(file))["main"]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda f: f.stem)
def test_examples_are_short_and_run_here(file):
    assert len(file.read_text().splitlines()) < 80
    assert f"def test_{file.stem}(" in Path(__file__).read_text()


@pytest.mark.matrix
def test_prune_resnet(tmp_path, capsys):
    example("prune_resnet")(tmp_path / "small", size=32)
    said = capsys.readouterr().out
    assert "filters removed: 50%" in said
    assert "left alone: fc.weight, 1000 channels: the network's output" in said
    assert sorted(p.name for p in (tmp_path / "small").iterdir()) == [
        "model.onnx",
        "model.safetensors",
        "plan.json",
    ]


@pytest.mark.matrix
def test_diagnose_digits(capsys):
    right = example("diagnose_digits")(epochs=8)
    # The paper's point: after OrthP both learning rates do well; without it the small one does not.
    assert min(right["orthp", 1e-2], right["orthp", 1e-3]) > right["none", 1e-3] + 0.1
    said = capsys.readouterr().out
    assert said.index("Collapsed: ") < said.index("Healthy: ")


@pytest.mark.matrix
def test_lottery_ticket(capsys):
    right = example("lottery_ticket")(rounds=2, epochs=4)
    shown = capsys.readouterr().out.splitlines()
    left = [int(line.partition(" ")[0].replace(",", "")) for line in shown]
    assert len(right) == 3
    assert left == sorted(left, reverse=True)
    assert right[-1] > 0.5  # a fifth of the weights, rewound, still learns ten classes
