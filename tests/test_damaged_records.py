"""Records that are damaged, or whole and of wrong types: every command ends well or with one line."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from damage import damage, in_time, remove
from experiment.tiny import one_thread, tiny
from isoprune.cli import main
from isoprune.experiment.pipeline import run
from isoprune.experiment.store import Store
from isoprune.types.json_files import write_json

COMMANDS = {
    "report": ["report", "{}", "--out", "page.html"],
    "table": ["report", "{}", "--rows", "ratio", "--columns", "repair,lr", "--out", "table.tex"],
    "compare": ["compare", "{}"],
    "diagnose": ["diagnose", "{}", "--samples", "2", "--repairs", "", "--data", "random"],
    "advise": ["advise", "{}", "--epochs", "1", "--rates", "0.1", "--steps", "1"],
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the store of two runs."""
    root = tmp_path_factory.mktemp("whole") / "store"
    with one_thread():
        for seed in (0, 1):
            run(tiny(seed=seed), Store(root), name="tiny")
    return root


def ended(words: list[str], capsys: Any, what: str) -> str:
    """Run a command and return how it ended; anything but an answer or one line is an error."""
    with in_time():
        code = main(words)
    error = capsys.readouterr().err
    assert code in (0, 2), what
    if code == 2:
        assert error.startswith("isoprune: "), what
        assert error.count("\n") == 1, (what, error)
        assert error[:-1].isprintable(), (what, error)
    assert not Path("PWNED").exists(), what
    return "refused" if code else "answered"


def fuzz(store: Path, capsys: Any, cases: int, seed: int, *, sign: bool, verbs: Any = COMMANDS) -> Counter:
    """Damage one record of a store again and again, each time for one of the commands."""
    draw, ends = random.Random(seed), Counter()
    path = sorted(store.glob("runs/*/record.json"))[0]
    before = path.read_bytes()
    with one_thread():
        for case in range(cases):
            kind = damage(path, draw, sign=sign)
            verb = list(verbs)[case % len(verbs)]
            place = path if verb in ("diagnose", "advise") else store
            words = [str(place) if word == "{}" else word for word in COMMANDS[verb]]
            ends[
                ended(words, capsys, f"seed {seed}, case {case}: {kind} for {verb}"), kind.endswith("signed")
            ] += 1
            remove(path)
            path.write_bytes(before)
    return ends


@pytest.fixture
def store(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISOPRUNE_DATA", str(tmp_path / "data"))
    return Path(shutil.copytree(whole, tmp_path / "store"))


@pytest.mark.parametrize("sign", [False, True])
def test_a_few_damaged_records(store, capsys, sign):
    ends = fuzz(store, capsys, 20, 0, sign=sign, verbs=("table", "compare", "diagnose"))
    assert ends["refused", False] + ends["refused", True] > 0


@pytest.mark.long
def test_three_hundred_damaged_records(store, capsys):
    ends = fuzz(store, capsys, 150, 1, sign=False) + fuzz(store, capsys, 200, 2, sign=True)
    assert ends.total() == 350
    assert ends["refused", False] > 150


@pytest.mark.parametrize(
    ("wrong", "verb"),
    [
        (lambda record: record["networks"][0]["history"][1].update(jsv_mean="nan"), "report"),
        (lambda record: record["networks"][0]["history"][1].update(lr=[0.1]), "report"),
        (lambda record: record["removals"][0]["proof"].update(max_abs_error="nan"), "table"),
        (lambda record: record["networks"][-1].update(advice={"lr": "0.1"}), "table"),
        (lambda record: record["networks"][-1].update(advice={}), "compare"),
        (lambda record: record["networks"][-1].update(advice={}), "report"),
        (lambda record: record.update(latency=[{"model": "dense"}]), "report"),
    ],
)
def test_a_value_of_another_type_is_one_line(store, capsys, wrong, verb):
    path = sorted(store.glob("runs/*/record.json"))[0]
    record = json.loads(path.read_text())
    wrong(record)
    write_json(path, record)
    words = [str(store) if word == "{}" else word for word in COMMANDS[verb]]
    assert ended(words, capsys, verb) == "refused"


@pytest.mark.parametrize("verb", ["diagnose", "advise", "report"])
def test_a_link_to_nowhere_near_the_store_is_one_line(store, capsys, verb):
    path = sorted(store.glob("runs/*/record.json"))[0]
    path.unlink()
    path.symlink_to("/dev/null")
    place = store if verb == "report" else path
    assert ended([str(place) if word == "{}" else word for word in COMMANDS[verb]], capsys, verb) == "refused"
