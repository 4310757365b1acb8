"""What tests of `isoprune diagnose` share: its command in this process, and a saved network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import commands
import isoprune
from isoprune.cli import main
from isoprune.export import open_source

SHAPE = ["--shape", "1,1,8,8"]
DIGITS = ["--data", '{name = "digits", size = 8}']


def save_small():
    """Save a pruned network here, and return its directory and what `prune` returned."""
    source = open_source("diagnosed_nets:with_inputs")
    result = isoprune.prune(source.model, source.example_inputs, ratio=0.6)
    isoprune.save(result, "small", dense=source.model, source="diagnosed_nets:with_inputs")
    return "small", result


def told(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Return what a command prints that succeeds."""
    assert main(["diagnose", *map(str, words)]) == 0
    return capsys.readouterr().out


def numbers(capsys: pytest.CaptureFixture[str], *words: object) -> dict:
    """Return the JSON that a command writes."""
    told(capsys, *words, "--out", "numbers.json")
    return json.loads(Path("numbers.json").read_text())


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    return commands.refused(capsys, "diagnose", *words)
