"""A diagnosis on the terminal, and as the plain data that a page or a JSON file is made of."""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

import isoprune
from isoprune.cli.diagnose_data import Data
from isoprune.cli.diagnose_open import Subject
from isoprune.cli.work import write_out
from isoprune.experiment.measure import histogram
from isoprune.isometry import Diagnosis, thresholds

BINS = 80
LAYERS = 40  # of more, the table shows those that lost most; the page and the JSON have all
# The other keys of a summary are in the JSON.
TOLD = ("mean", "mean_error", "std", "min", "max", "max_error", "condition", "below_1e3", "distance")

LAYER_COLUMNS = {
    "name": "layer",
    "kind": "kind",
    "backward_gain": "gain",
    "dense_backward_gain": "dense gain",
    "share": "share of loss",
    "sigma_mean": "mean sigma",
    "dead_filters": "dead filters",
}


def tell(console: Console, subject: Subject, data: Data, diagnosis: Diagnosis) -> None:
    """Print the verdict, the sentences, the layers, and what the repairs restore."""
    console.print(subject.label, markup=False, soft_wrap=True)
    found, restored = _parted(diagnosis)
    for sentence in (*found, *_provisos(subject, data), *restored):
        console.print(sentence, markup=False, soft_wrap=True)
    rows = diagnosis.as_rows()
    if rows:
        most = sorted(rows, key=lambda row: -row["share"])[:LAYERS]
        console.print(_layer_table([row for row in rows if row in most]))
    if len(rows) > LAYERS:
        console.print(f" {len(rows) - LAYERS} layers that lost less are left out; --out has all.")
    if len(_networks(subject, diagnosis)) > 1:
        console.print(_network_table(subject, diagnosis))
    for name, reason in diagnosis.refused.items():
        console.print(
            f"Repair {name} does not apply: {' '.join(reason.split())}", markup=False, soft_wrap=True
        )


def write(file: Path, subject: Subject, data: Data, diagnosis: Diagnosis, args: argparse.Namespace) -> None:
    """Write the diagnosis as one web page (.html) or as numbers (.json).

    Raises:
        IsopruneError: If the file cannot be written.
    """
    record = as_record(subject, data, diagnosis, args)
    if file.suffix == ".html":
        from isoprune.reporting import diagnosis_page

        diagnosis_page(record, file)
        return
    write_out(file, json.dumps(record, indent=1, allow_nan=False))


def as_record(subject: Subject, data: Data, diagnosis: Diagnosis, args: argparse.Namespace) -> dict[str, Any]:
    """Return the diagnosis as plain data: all that its page shows."""
    effort = diagnosis.effort
    found, restored = _parted(diagnosis)
    how = "exact" if effort.method == "exact" else "estimated"
    settings = {
        "network": args.network,
        "dense": args.dense or ("the store's" if subject.dense is not None else "not given"),
        "data": data.told,
        "samples": effort.samples,
        "singular values": f"{how}, {effort.values:,} a sample",
        "multiply-adds of a sample": f"exact {effort.exact:.2g}, estimate {effort.estimate:.2g}",
        "seed": args.seed,
        "isoprune": isoprune.__version__,
        "torch": str(torch.__version__),
        "Python": platform.python_version(),
    }
    return {
        "kind": "diagnosis",
        "version": 1,
        "network": subject.label,
        "verdict": diagnosis.verdict,
        "sentences": found,
        "restored": restored,
        "provisos": _provisos(subject, data),
        "networks": _networks(subject, diagnosis),
        "layers": diagnosis.as_rows(),
        "numbers": diagnosis.numbers,
        "refused": {name: " ".join(reason.split()) for name, reason in diagnosis.refused.items()},
        "settings": {key: str(value) for key, value in settings.items()},
        "thresholds": {name.lower(): value for name, value in vars(thresholds).items() if name.isupper()},
    }


def _parted(diagnosis: Diagnosis) -> tuple[list[str], list[str]]:
    """Return what was found, and what the repairs restore: the last sentences, one a repair."""
    last = len(diagnosis.sentences) - len(diagnosis.repairs)
    return list(diagnosis.sentences[:last]), list(diagnosis.sentences[last:])


def _provisos(subject: Subject, data: Data) -> list[str]:
    return [f"Measured on {data.told}.", *subject.notes]


def _networks(subject: Subject, diagnosis: Diagnosis) -> list[dict[str, Any]]:
    """Return one row a network: dense, the one diagnosed, then by repair; its numbers, and its histogram."""
    own = subject.facts["stage"] if subject.facts else "this network"
    named = {"dense": "dense"} if "dense_jsv_mean" in diagnosis.numbers else {}
    named |= {"": own} | {name: name for name in diagnosis.repairs}
    rows = []
    for key, label in named.items():
        start = f"{key}_jsv_".lstrip("_")
        numbers = {
            part: diagnosis.numbers[start + part] for part in TOLD if start + part in diagnosis.numbers
        }
        sigma = diagnosis.sigma.get(key)
        rows.append(
            {
                "name": label,
                "role": {"dense": "dense", "": "own"}.get(key, "repaired"),
                "jsv": numbers,
                "histogram": None if sigma is None else histogram(sigma, bins=BINS),
            }
        )
    return rows


def _layer_table(rows: list[dict[str, Any]]) -> Table:
    shown = {key: h for key, h in LAYER_COLUMNS.items() if any(row.get(key) is not None for row in rows)}
    table = Table(box=None)
    for key, heading in shown.items():
        table.add_column(heading, justify="left" if key in ("name", "kind") else "right")
    for row in rows:
        table.add_row(*(Text(_cell(key, row.get(key))) for key in shown))
    return table


def _network_table(subject: Subject, diagnosis: Diagnosis) -> Table:
    rows = _networks(subject, diagnosis)
    shown = [key for key in TOLD if key in rows[0]["jsv"] and not key.endswith("_error")]
    headings = {"below_1e3": "below 0.001", "distance": "distance to 1"}
    table = Table("singular values of", box=None)
    for key in shown:
        table.add_column(headings.get(key, key), justify="right")
    for row in rows:
        cells = []
        for key in shown:
            error = row["jsv"].get(f"{key}_error")
            text = f"{row['jsv'][key]:.0%}" if key == "below_1e3" else f"{row['jsv'][key]:.3g}"
            cells.append(Text(text + (f" ± {error:.1g}" if error is not None else "")))
        table.add_row(Text(row["name"]), *cells)
    return table


def _cell(key: str, value: Any) -> str:
    if value is None:
        return ""
    if key == "share":
        return f"{value:.0%}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
