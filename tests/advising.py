"""What tests of `isoprune advise` share: its command in this process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import commands
from diagnosing import DIGITS
from isoprune.cli import main

NET = ("diagnosed_nets:Net", *DIGITS, "--samples", "4", "--epochs", "1", "--rates", "0.01,0.1")


def told(capsys, *words):
    assert main(["advise", *map(str, words)]) == 0
    return capsys.readouterr()


def numbers(capsys, *words):
    told(capsys, *words, "--out", "numbers.json")
    return json.loads(Path("numbers.json").read_text())


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    return commands.refused(capsys, "advise", *words)


def kept():
    return sorted((Path("cache") / "advice").glob("*.json"))
