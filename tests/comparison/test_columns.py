"""docs/tables.md names the columns of `isoprune.records`: all of them, and no others."""

from __future__ import annotations

import re
from pathlib import Path

from msgspec.structs import replace

from experiment.tiny import one_thread, tiny
from isoprune.comparison.records.frame import numbers_of, runs_of
from isoprune.experiment.pipeline import run
from isoprune.experiment.store import Store
from isoprune.types.record import ErrorPath, MeasureRecord, NetworkRecord, Record, TrainingCost

PAGE = (Path(__file__).parents[2] / "docs/tables.md").read_text(encoding="utf-8")
ROLES = ("dense", "pruned", "repaired", "retrained")


def test_a_round_shows_its_own_numbers_alone_and_what_all_rounds_took():
    def last(which: str, **more: object) -> NetworkRecord:
        sizes = {"parameters": 1, "nonzero": 1, "flops": 1}
        return NetworkRecord(role=which, step=0, digest="d", **(sizes | {"metrics": {}} | more))

    first = last(
        "pruned",
        coded_bytes=99,
        peak_memory=7,
        jsv={"mean": 0.5},
        metrics={"test_accuracy": 0.9},
        measures={"own": MeasureRecord({"own": 1.0}, 1.0)},
        barrier=ErrorPath(barrier=0.5, samples=3),
        advice={"lr": 0.1},
        training=TrainingCost(samples=5, multiply_adds=50),
    )
    second = last(
        "pruned",
        measures={"own": MeasureRecord({}, 0.0, "refused")},
        barrier=ErrorPath(refused="why"),
        training=TrainingCost(samples=6, multiply_adds=60),
    )
    record = Record(digest="d", name="n", config={}, networks=[first, last("dense"), second])
    alone = Record(digest="d", name="n", config={}, networks=[last("dense"), second])
    added = {"pruned.training.samples": 11, "pruned.training.multiply_adds": 110, "pruned.barrier_samples": 3}
    assert numbers_of(record) == numbers_of(alone) | added


def test_the_columns_of_records_are_those_of_the_page(tmp_path: Path):
    [section] = re.findall(r"^## The columns of .*?\n(.*?)^## ", PAGE, re.DOTALL | re.MULTILINE)
    named = re.findall(r"^\| `([\w.]+)` \|", section, re.MULTILINE)
    with one_thread():
        record = run(tiny(), Store(tmp_path))
    line = ErrorPath(errors=[0.1, 0.3, 0.2], barrier=0.15, above_line=0.15)
    further = {
        "repaired": {"measures": {"MEASURE": MeasureRecord({"NAME": 1.0}, seconds=0.1)}},
        "retrained": {"advice": {"lr": 0.1}, "barrier": line, "instability": replace(line, samples=9)},
        "pruned": {"coded_bytes": 9, "peak_memory": 9},
    }
    networks = [replace(network, **further.get(network.role, {})) for network in record.networks]
    runs = runs_of([replace(record, networks=networks)])
    columns = [column for column in runs.frame.columns if column not in runs.keys]
    found = dict.fromkeys(re.sub(rf"^(?:{'|'.join(ROLES)})\.", "ROLE.", column) for column in columns)
    assert sorted(found) == sorted(named)
    keys = re.search(r"flat, with dots: (.*) \|", section)[1]
    assert set(re.findall(r"`([\w.]+)`", keys)) <= set(runs.keys)
