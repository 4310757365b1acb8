"""A user's own function is part of an experiment's name: changed code is never answered with old results."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiment.tiny import one_thread, roles, tiny
from isoprune.experiment.config import experiment
from isoprune.experiment.digests import run_digest
from isoprune.experiment.networks import load_network
from isoprune.experiment.pipeline import run
from isoprune.experiment.resolve import resolve
from isoprune.experiment.store import Store
from isoprune.types import IsopruneError

CRITERION = """
from own_code_helper import SIGN

def lowest(signals, units, *, generator):
    made = {}
    for u in units:
        [rows] = [signals.weights[m.tensor] for m in u.members if m.role == "out"][:1]
        made[u.name] = SIGN * rows.flatten(1).abs().sum(1)
    return made
"""
HELPER = "SIGN = 1\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    with one_thread():
        yield
    forget()


def forget() -> None:
    for name in ("own_code_criterion", "own_code_helper"):
        sys.modules.pop(name, None)


def write(folder: Path, criterion: str = CRITERION, helper: str = HELPER) -> Any:
    """Return an experiment whose criterion has this code, as a process that starts now sees it."""
    forget()
    (folder / "own_code_criterion.py").write_text(criterion)
    (folder / "own_code_helper.py").write_text(helper)
    return tiny(
        prune={"ratio": 0.5, "criterion": "own_code_criterion:lowest"},
        dense={"epochs": 1, "lr": 0.05, "batch": 50, "jsv_samples": 0},
        retrain={"epochs": 0},
        repair="none",
    )


def digest(asked: Any) -> str:
    return run_digest(resolve(asked).as_dict())


@pytest.mark.parametrize(
    "change",
    [{"criterion": CRITERION.replace("SIGN *", "-SIGN *")}, {"helper": "SIGN = -1\n"}],
    ids=["its own file", "a module that it imports"],
)
def test_changed_code_is_another_experiment_with_other_results(tmp_path: Path, change: dict[str, str]):
    store = Store(tmp_path / "store")
    before = run(write(tmp_path), store)
    again = run(write(tmp_path), store)
    assert again.digest == before.digest
    after = run(write(tmp_path, **change), store)
    assert after.digest != before.digest
    # Only what the criterion decides is made again, and it decides the other way round.
    assert roles(after)["dense"].digest == roles(before)["dense"].digest
    plans = [load_network(store.folder(roles(r)["pruned"].digest))[1]["plan"] for r in (before, after)]
    assert all(bool((a ^ b).all()) for a, b in zip(*(p.kept.values() for p in plans), strict=True))


def test_what_code_is_not_its_own_changes_nothing(tmp_path: Path):
    first = digest(write(tmp_path))
    (tmp_path / "own_code_neighbour.py").write_text("X = 1\n")
    assert digest(write(tmp_path)) == first
    assert resolve(write(tmp_path)).as_dict()["prune"]["criterion"].keys() == {"name", "@source"}


def test_a_record_of_other_code_is_refused_as_an_experiment(tmp_path: Path):
    config = resolve(write(tmp_path)).as_dict()
    assert digest(experiment(config)) == digest(write(tmp_path))
    write(tmp_path, helper="SIGN = 2\n")
    message = r"prune\.criterion: the code of own_code_criterion:lowest has changed.*leave out @source"
    with pytest.raises(IsopruneError, match=message):
        resolve(experiment(config))
