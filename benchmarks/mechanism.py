"""Why a repaired network bears the learning rates that it does: function, isometry and sharpness.

    isoprune study studies/repairs.toml --jobs 2
    python benchmarks/mechanism.py runs/studies/repairs.json [--samples 500]
    python benchmarks/mechanism.py runs/studies/full-budget-laptop.json --reproduction full-budget

For every repaired network of a finished study, before retraining: validation accuracy, mean Jacobian singular
value, distance of the outputs from the dense network's on training images (over their norm), sharpness of the
loss there (largest eigenvalue of the Hessian, the measure `hessian_largest`), and the rate above which SGD at
momentum 0.9 is not stable: 2 (1 + 0.9) / sharpness. Means over seeds; a row a network, ratio and repair. Of a
reproduction: of the runs that count in its table, before retraining and after.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import geometric_mean, mean

import torch

import isoprune
from isoprune.comparison.records import read_records
from isoprune.experiment.config import choice
from isoprune.experiment.networks import load_network
from isoprune.experiment.signatures import bind
from isoprune.experiment.store import Store
from isoprune.methods.measures import MEASURES
from isoprune.reporting.study import make_cells
from isoprune.reproduction import find
from isoprune.types import Splits
from isoprune.types.record import Record

Row = tuple[str, float, str]
Numbers = tuple[float, float, float, float]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path, help="runs/studies/NAME.json")
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--ratio", type=float, help="only this one (default: all)")
    parser.add_argument("--reproduction", help="its name, where the study is one of `isoprune reproduce`")
    args = parser.parse_args()
    store = Store(args.study.resolve().parents[1])
    rows: dict[Row, dict[str, Numbers]] = defaultdict(dict)
    measured: dict[str, Numbers] = {}
    for row, role, record in runs(read_records(args.study), args.reproduction):
        if args.ratio is not None and row[1] not in (0.0, args.ratio):
            continue
        made = record.network(role)
        if made is None:
            continue
        if made.digest not in measured:
            measured[made.digest] = numbers(store, record, role, args.samples)
        rows[row][made.digest] = measured[made.digest]
    print("| network | ratio | start | n | accuracy % | mean JSV | off dense | sharpness | stable below |")
    print("|---|---:|---|---:|---:|---:|---:|---:|---:|")
    for (network, ratio, name), found in sorted(rows.items(), key=lambda one: one[0][:2]):
        accuracy, jsv, off, sharp = zip(*found.values(), strict=True)
        typical = geometric_mean([max(s, 1e-12) for s in sharp])
        told = (
            f"{100 * mean(accuracy):.1f}",
            f"{mean(jsv):.3g}",
            f"{mean(off):.2f}",
            f"{typical:.3g}",
            f"{2 * (1 + 0.9) / typical:.2g}",
        )
        print(f"| {network} | {ratio:g} | {name} | {len(found)} | {' | '.join(told)} |", flush=True)


def runs(records: Sequence[Record], reproduction: str | None) -> Iterator[tuple[Row, str, Record]]:
    """Yield the row of a network, its role, and the record that it is in."""
    if reproduction is None:
        for cell in make_cells(records):
            for record in cell.records:
                yield (cell.network, cell.ratio, cell.repair), "repaired", record
                yield (cell.network, 0.0, "dense"), "dense", record
        return
    for place, seeds in find(reproduction).cells(records).items():
        ratio, _, budget = place.column.partition(" ")
        for record in seeds.values():
            yield (place.panel, 0.0, "dense"), "dense", record
            yield (place.panel, float(ratio), place.row), "repaired", record
            yield (place.panel, float(ratio), f"{place.row}, retrained, {budget}"), "retrained", record


def numbers(store: Store, record: Record, role: str, samples: int) -> Numbers:
    """Return validation accuracy, mean JSV, distance from the dense network's outputs, and sharpness."""
    made, dense = record.network(role), record.network("dense")
    splits = data_of(record)
    inputs, targets = splits.train.inputs[:samples], splits.train.targets[:samples]
    network, teacher = (load_network(store.folder(one.digest))[0].eval() for one in (made, dense))
    with torch.no_grad():
        wanted = teacher(inputs)
        off = float((network(inputs) - wanted).norm() / wanted.norm())
    largest = partial(MEASURES["hessian_largest"], samples=samples)
    log = isoprune.measures(network, [(inputs, targets)], names=[largest]).numbers["log_hessian_largest"]
    sharp = 0.0 if log is None else 10**log
    return made.metrics["validation_accuracy"], made.jsv["mean"], off, sharp


_DATA: dict[str, Splits] = {}


def data_of(record: Record) -> Splits:
    key = repr((record.config["data"], record.config["seed"]))
    if key not in _DATA:
        _DATA[key] = bind("data", choice(record.config["data"], "data"))(seed=record.config["seed"])
    return _DATA[key]


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
