"""docs/tables.md names the columns of `isoprune.records`: all of them, and no others."""

from __future__ import annotations

import re
from pathlib import Path

from msgspec.structs import replace

from experiment.tiny import one_thread, tiny
from isoprune.comparison.records.frame import runs_of
from isoprune.experiment.pipeline import run
from isoprune.experiment.store import Store
from isoprune.types.record import ErrorPath, MeasureRecord

PAGE = (Path(__file__).parents[2] / "docs/tables.md").read_text(encoding="utf-8")
ROLES = ("dense", "pruned", "repaired", "retrained")


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
