"""What tests of `isoprune prune MODEL --data DATA` share: its command, and recipes of seconds."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import isoprune
from experiment.tiny import bits
from isoprune.cli import main

DIGITS = '{name = "digits", limit = 150, size = 8}'
# A perceptron of width 8, trained for an epoch; small steps, so that there are some.
MLP = ("mlp_7", "--data", DIGITS, "--set", "model.width=8", "--set", "model.depth=3", "--dense-epochs", "2")
OF_PHOTOS = (
    *("own_recipe_nets:conv", "--data", "photos", "--ratio", "0.5"),
    *("--epochs", "1", "--dense-epochs", "1"),
)
COMMAND = (*MLP, "--ratio", "0.5", "--epochs", "3")
OWN = """
import torch
from torch import nn

def net(width=12):
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

def trained():
    from sklearn.datasets import load_digits
    pixels, labels = load_digits(return_X_y=True)
    x, y = (torch.tensor(pixels).float() / 16 - 0.3056) / 0.3761, torch.tensor(labels)
    made = net()
    optimizer = torch.optim.Adam(made.parameters(), 0.03)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(made(x), y).backward()
        optimizer.step()
    return made

class Conv(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 3)

    def forward(self, x):
        return self.c(self.b(self.a(x).relu()).relu().mean((2, 3)))

def conv():
    return Conv(), torch.zeros(1, 3, 12, 12)

def wide():
    return Conv(), torch.zeros(1, 3, 12, 16)

def text():
    return nn.Linear(64, 10), torch.zeros(1, 64)
"""


def dense(width: int = 8) -> torch.nn.Module:
    return isoprune.models.mlp_7(width=width, depth=3, in_shape=(1, 8, 8), classes=10)


@contextmanager
def own_networks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stand in ``folder``, where the user's own networks can be imported."""
    monkeypatch.chdir(folder)
    (folder / "own_recipe_nets.py").write_text(OWN)
    monkeypatch.syspath_prepend(folder)
    yield
    sys.modules.pop("own_recipe_nets", None)


def command(*words: object, out: str = "o") -> list[str]:
    return ["prune", *map(str, words), "--out", out]


def told(capsys: Any, *words: object, out: str = "o") -> str:
    """Return what the command prints, which succeeds and has nothing to complain about."""
    assert main(command(*words, out=out)) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def refused(capsys: Any, *words: object, out: str = "o") -> str:
    """Return the one line of a command that the user can put right."""
    assert main(command(*words, out=out)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    [line] = captured.err.splitlines()
    assert line.startswith("isoprune: ")
    return line


def record(out: str = "o") -> dict[str, Any]:
    return json.loads((Path(out) / "record.json").read_text())


def network(record: dict[str, Any], role: str) -> dict[str, Any]:
    """Return the last network of a role in a record, as JSON has it."""
    return [one for one in record["networks"] if one["role"] == role][-1]


def tensors(out: str = "o") -> dict[str, torch.Tensor]:
    return load_file(Path(out) / "network" / "model.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def untimed(one: dict[str, Any]) -> dict[str, Any]:
    """Return of a record what does not depend on the machine's speed or on who ran it."""
    return bits({key: value for key, value in one.items() if key not in ("latency", "environment")})
