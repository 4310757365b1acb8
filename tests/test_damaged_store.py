"""Damage anywhere in a store is never used in silence: the same record comes, or a line says why not."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from damage import damage, in_time, remove
from experiment.rewinding import rewinding
from experiment.tiny import bits, one_thread
from isoprune.experiment.pipeline import run
from isoprune.experiment.store import Store
from isoprune.types import IsopruneError
from isoprune.types.record import Record

NETWORKS, RECORD = "networks/*/*.*", "runs/*/record.json"


def recipe(**changes: Any) -> Any:
    return rewinding(**changes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Record]:
    with one_thread():
        root = tmp_path_factory.mktemp("whole") / "store"
        return root, run(recipe(), Store(root))


def files(root: Path, pattern: str) -> list[Path]:
    return sorted(path for path in root.glob(pattern) if not path.name.startswith("."))


def try_once(whole: tuple[Path, Record], root: Path, pattern: str, draw: random.Random) -> str:
    """Damage one file of a store and go on with it; return which file, how, and what came of it."""
    path = draw.choice(files(root, pattern) or files(whole[0], pattern))
    path = root / path.relative_to(root if path.is_relative_to(root) else whole[0])
    before = path.read_bytes()
    kind = damage(path, draw)
    said: list[str] = []
    if path.name != "record.json":
        shutil.rmtree(root / "runs")
    same = path.is_file() and path.stat().st_size == len(before) and path.read_bytes() == before
    record, refusal = None, ""
    try:
        with in_time():
            record = run(recipe(), Store(root), on_event=lambda event: said.append(str(event.get("say", ""))))
    except IsopruneError as error:
        refusal = str(error)
    if not path.is_file():  # refused, or nothing needed it
        remove(path)
        path.parent.mkdir(parents=True, exist_ok=True)
    if record is None:
        assert "\n" not in refusal, (path, kind)
        remove(path)
        path.write_bytes(before)
        return f"{path.name} {kind}: refused: {refusal}"
    assert bits(record) == bits(whole[1]), (path, kind)
    return f"{path.name} {kind}: {'as it was' if same else 'made again'}"


def fuzz(whole: tuple[Path, Record], root: Path, cases: int, pattern: str, seed: int) -> dict[str, int]:
    if not root.exists():
        shutil.copytree(whole[0], root)
    draw, counts = random.Random(seed), {"refused": 0, "made again": 0, "as it was": 0}
    with one_thread():
        for _ in range(cases):
            end = try_once(whole, root, pattern, draw)
            counts[next(word for word in counts if word in end)] += 1
    return counts


def test_a_few_damages_of_networks(whole, tmp_path):
    counts = fuzz(whole, tmp_path / "store", 12, NETWORKS, seed=0)
    assert counts["made again"] > 6


def test_a_few_damages_of_records(whole, tmp_path):
    counts = fuzz(whole, tmp_path / "store", 25, RECORD, seed=1)
    assert counts["refused"] > 15


def test_one_digit_of_the_plan_is_made_again_and_said(whole, tmp_path):
    """The smallest damage: another channel goes, and every JSON stays well formed."""
    root = Path(shutil.copytree(whole[0], tmp_path / "store"))
    shutil.rmtree(root / "runs")
    for path in root.glob("networks/*/plan.json"):
        text = path.read_text()
        path.write_text(text.replace('"flops": ', '"flops": 1'))
    said: list[str] = []
    with one_thread():
        record = run(recipe(), Store(root), on_event=lambda event: said.append(str(event.get("say", ""))))
    assert bits(record) == bits(whole[1])
    assert sum("its checksum is not the one in step.json" in line for line in said) == len(record.networks)


@pytest.mark.parametrize("name", ["measured-*.json", "epoch-*.safetensors"])
def test_a_file_of_another_network_is_not_taken(whole, tmp_path, name):
    root = Path(shutil.copytree(whole[0], tmp_path / "store"))
    shutil.rmtree(root / "runs")
    found = files(root, f"networks/*/{name}")
    assert found
    contents = [path.read_bytes() for path in found]
    for path, content in zip(found, [*contents[1:], contents[0]], strict=True):
        path.write_bytes(content)
    with one_thread():
        assert bits(run(recipe(), Store(root))) == bits(whole[1])


@pytest.mark.long
def test_five_hundred_damages(whole, tmp_path):
    counts = fuzz(whole, tmp_path / "store", 400, NETWORKS, seed=2)
    records = fuzz(whole, tmp_path / "store", 150, RECORD, seed=3)
    assert sum((*counts.values(), *records.values())) == 550
