"""Weights and saved folders that are damaged or a stranger's: refused in a line, or the very same."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import diagnosed_nets
import isoprune
from damage import BYTES, changed, damage, in_time, remove
from experiment.tiny import one_thread
from hostile import CALLS, network_folder, record_of, sealed
from isoprune.cli import main
from isoprune.export import load, save
from isoprune.export.weights import load_weights_
from isoprune.types import IsopruneError


def bits(model: Any) -> dict[str, list[float]]:
    return {name: t.flatten().tolist() for name, t in model.state_dict().items()}


def outcome(act: Callable[[], Any], good: Any, what: str) -> str:
    try:
        with in_time():
            found = act()
    except IsopruneError as error:
        return "refused" if "\n" not in str(error) else pytest.fail(f"{what}: {error}")
    assert found == good, what
    return "the same"


def weights_fuzz(folder: Path, cases: int, seed: int) -> Counter:
    """Damage the bytes of files of weights; what is read must be what was written, or nothing."""
    draw, ends = random.Random(seed), Counter()
    model = diagnosed_nets.Net()
    good = bits(model)
    paths = {"weights.safetensors": lambda path: save_file(model.state_dict(), path),
             "weights.pth": lambda path: torch.save({"state_dict": model.state_dict()}, path)}  # fmt: skip
    for case in range(cases):
        name = draw.choice(list(paths))
        path = folder / name
        remove(path)
        paths[name](path)
        kind = damage(path, draw)
        fresh = diagnosed_nets.Net()

        def act(path: Path = path, fresh: Any = fresh) -> Any:
            load_weights_(fresh, path)
            # A file of a user's carries no checksum: a changed number is the file's own.
            return good if all(t.isfinite().all() for t in fresh.state_dict().values()) else None

        ends[outcome(act, good, f"seed {seed}, case {case}: {name} {kind}")] += 1
    return ends


def saved_fuzz(folder: Path, cases: int, seed: int, *, sign: bool) -> Counter:
    """Damage a saved network: it comes back bit by bit, or is refused; so it is when it is signed anew."""
    draw, ends = random.Random(seed), Counter()
    dense = diagnosed_nets.Net().eval()
    small = isoprune.prune(dense, torch.randn(2, 1, 8, 8), ratio=0.5)
    whole = save(small, folder / "whole", dense=dense)
    good = bits(small.model)
    for case in range(cases):
        place = folder / "case"
        remove(place)
        shutil.copytree(whole, place)
        path = place / draw.choice(["plan.json", "model.safetensors"])
        if sign:
            path, kind = place / "plan.json", "signed"
            facts = json.loads(path.read_text())
            del facts["checksum"]
            path.write_bytes(sealed(changed(facts, draw, odd=draw.random() < 0.5)))
        else:
            kind = damage(path, draw)

        def act(place: Path = place) -> Any:
            back = load(place, build=diagnosed_nets.Net)
            assert {n: type(m) for n, m in back.named_modules()} == {
                n: type(m) for n, m in dense.named_modules()
            }
            assert torch.equal(back.eval()(torch.ones(1, 1, 8, 8)), small.model(torch.ones(1, 1, 8, 8)))
            return bits(back)

        ends[outcome(act, good, f"seed {seed}, case {case}: {path.name} {kind}")] += 1
    return ends


def test_a_few_damaged_weights(tmp_path):
    assert weights_fuzz(tmp_path, 40, 0)["refused"] > 10


@pytest.mark.parametrize("sign", [False, True])
def test_a_few_damaged_networks(tmp_path, sign):
    with one_thread():
        assert saved_fuzz(tmp_path, 40, 0, sign=sign)["refused"] > 10


@pytest.mark.long
def test_three_hundred_damaged_weights(tmp_path):
    with one_thread():
        ends = weights_fuzz(tmp_path, 320, 1)
        ends += saved_fuzz(tmp_path / "a", 200, 2, sign=False) + saved_fuzz(tmp_path / "b", 200, 3, sign=True)
    assert ends.total() == 720


FOLDERS = {
    "diagnose": ["diagnose", "{}", "--samples", "2", "--repairs", ""],
    "diagnose with data": ["diagnose", "{}", "--samples", "2", "--repairs", "", "--data", "random"],
    "advise": ["advise", "{}", "--epochs", "1", "--rates", "0.1", "--steps", "1"],
    "report": ["report", "{}", "--rows", "ratio"],
    "compare": ["compare", "{}"],
    "prune": ["prune", "mlp_7", "--data", "digits", "--dense-epochs", "1", "--ratio", "0.5", "--out", "{}"],
    "save": ["prune", "diagnosed_nets:Net", "--shape", "1,1,8,8", "--ratio", "0.5", "--out", "{}"],
}


def hostile_folder(place: Path, draw: random.Random) -> Path:
    """Make a stranger's folder of one of the kinds, signed, with one of its facts another."""
    name = draw.choice(CALLS)
    kind = draw.choice(["model", "data", "facts", "record", "saved", "recipe"])
    if kind in ("model", "data"):
        return network_folder(place, **{kind: {"name": name, **draw.choice(({}, {"a": 1}))}})
    if kind == "saved":
        dense = diagnosed_nets.Net().eval()
        made = save(isoprune.prune(dense, torch.randn(2, 1, 8, 8), ratio=0.5), place / "saved", source=name)
        facts = json.loads((made / "plan.json").read_text())
        del facts["checksum"]
        (made / "plan.json").write_bytes(sealed(changed(facts, draw, odd=True) | {"source": name}))
        return made
    folder = network_folder(place / "networks")
    if kind == "recipe":
        (place / "recipe.json").write_bytes((folder / "step.json").read_bytes())
        return place
    if kind == "record":
        return record_of(folder, place / "runs").parent
    damage(folder / "step.json", draw, sign=True)
    return folder


def folders_fuzz(place: Path, capsys: Any, cases: int, seed: int) -> Counter:
    draw, ends = random.Random(seed), Counter()
    Path("stranger_nets.py").write_text("open('PWNED', 'w').close()\ndef make(*_, **__): pass\n")
    for case in range(cases):
        remove(place)
        folder = hostile_folder(place, draw)
        for verb, words in FOLDERS.items():
            if verb == "prune" and not (folder / "recipe.json").exists():
                continue
            what = f"seed {seed}, case {case}: {folder} by {verb}"
            with in_time():
                code = main([word.replace("{}", str(folder)) for word in words])
            error = capsys.readouterr().err
            assert code in (0, 2), what
            assert code == 0 or (error.count("\n") == 1 and error[:-1].isprintable()), (what, error)
            assert not Path("PWNED").exists(), what
            ends["refused" if code else "answered"] += 1
    return ends


@pytest.fixture
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISOPRUNE_DATA", str(tmp_path / "data"))


@pytest.mark.usefixtures("_here")
def test_a_few_hostile_folders(capsys):
    with one_thread():
        assert folders_fuzz(Path("stranger"), capsys, 4, 0)["refused"] > 4


@pytest.mark.long
@pytest.mark.usefixtures("_here")
def test_a_hundred_hostile_folders(capsys):
    with one_thread():
        assert folders_fuzz(Path("stranger"), capsys, 100, 1).total() > 500


def test_every_kind_of_damage_changes_a_file():
    content = json.dumps({"a": [1, 2], "b": "text"}).encode()
    for kind, act in BYTES.items():
        assert any(act(content, random.Random(seed)) != content for seed in range(5)), kind
