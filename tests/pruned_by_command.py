"""What tests of `isoprune prune` without data share: networks of one's own, and the command."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from isoprune.cli import main

OWN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 32, 3, padding=1)
        self.b = nn.Conv2d(32, 32, 3, padding=1)
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        return self.head(self.b(self.a(x).relu()).relu().mean((2, 3)))

def with_zeros():
    net = Net()
    with torch.no_grad():
        net.a.weight[:7] = 0
        net.a.bias[:7] = 0
    return net

class Nothing(nn.Module):
    def forward(self, x):
        return x * 2
"""


@contextmanager
def own_networks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in a folder that holds the networks, as a user does."""
    monkeypatch.chdir(folder)
    (folder / "own_cli_nets.py").write_text(OWN)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("COLUMNS", "120")
    yield
    sys.modules.pop("own_cli_nets", None)


SHAPE = ["--shape", "2,3,8,8"]
NET = ["prune", "own_cli_nets:Net", *SHAPE]


def ran(capsys, *words: str) -> str:
    code = main([*words])
    out = capsys.readouterr()
    assert (code, out.err) == (0, "")
    return out.out


def refused(capsys, *words: str) -> str:
    code = main([*words])
    out = capsys.readouterr()
    assert code == 2
    assert out.err.startswith("isoprune: ")
    assert out.err.count("\n") == 1
    return out.err
