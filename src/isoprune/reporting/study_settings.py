"""The settings of a study's runs: in short for readers, and in full."""

from __future__ import annotations

from collections.abc import Sequence

from isoprune.comparison import text
from isoprune.comparison.records import Runs, written
from isoprune.reporting.study import ADVISED, Cell, unique
from isoprune.types.duration import duration
from isoprune.types.tables import Table

_TRAINING = ("epochs", "lr", "batch", "optimizer", "weight_decay")


def setup(cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """Return the steps of the experiment, a name and a phrase each; several values are all listed."""
    runs = cells[0].runs
    rows = [row for cell in cells for row in cell.rows]
    ratios = [text.plain(ratio) for ratio in sorted({cell.ratio for cell in cells})]
    criteria = unique(cell.criterion for cell in cells if cell.criterion)
    by = f" by {text.listed(criteria)}" if criteria else ""
    retrained = [row for cell in cells if cell.lr is not None for row in cell.rows]
    steps = [
        ("Network", text.listed(unique(cell.network for cell in cells))),
        ("Data", _values(runs, rows, "data.name")),
        ("Dense", _training(runs, rows, "dense")),
        ("Pruned", f"ratio {text.listed(ratios)} of the filters{by}"),
        ("Repaired", text.listed(unique(cell.repair for cell in cells))),
        ("Retrained", _training(runs, retrained, "retrain") if retrained else "not in this study"),
        ("Seeds", _seeds(sorted({runs.seeds[row] for row in rows}))),
    ]
    return [(name, phrase) for name, phrase in steps if phrase]


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return text.listed([str(seed) for seed in seeds])


def _values(runs: Runs, rows: Sequence[int], key: str) -> str:
    values = runs.values(key)
    rate = key.endswith((".lr", ".weight_decay"))
    return text.listed(
        [
            "as advised" if value == ADVISED else text.learning_rate(float(value)) if rate else written(value)
            for value in unique(values[row] for row in rows if values[row] is not None)
        ]
    )


def _training(runs: Runs, rows: Sequence[int], section: str) -> str:
    values = {key: _values(runs, rows, f"{section}.{key}") for key in _TRAINING}
    schedules = unique(filter(None, (_schedule(runs, row, f"{section}.schedule") for row in rows)))
    phrases = [
        f"{values['epochs']} epochs" if values["epochs"] else "",
        f"LR {values['lr']}" if values["lr"] else "",
        text.listed(schedules),
        f"batch {values['batch']}" if values["batch"] else "",
        values["optimizer"] if values["optimizer"] != "sgd" else "",  # unsaid, it is SGD
        f"weight decay {values['weight_decay']}" if values["weight_decay"] else "",
    ]
    return ", ".join(filter(None, phrases))


def _schedule(runs: Runs, row: int, section: str) -> str:
    """Return one schedule in words, with its milestones, and the one it holds if it does."""
    name, milestones, gamma, inner = (
        runs.values(f"{section}.{key}")[row] for key in ("name", "milestones", "gamma", "schedule.name")
    )
    phrase = str(name or "")
    if milestones:
        phrase += f" at {milestones[1:-1]}"
    if phrase and gamma is not None and not inner:
        phrase += f" (× {written(gamma)})"
    inner = _schedule(runs, row, f"{section}.schedule") if inner else ""
    return f"{phrase} of {inner}" if inner else phrase


def configuration(cells: Sequence[Cell]) -> Table:
    """Return every setting with dotted keys; where the runs differ, all its values."""
    runs = cells[0].runs
    rows = [
        (key, "  ·  ".join(text.MISSING if v is None else written(v) for v in unique(runs.values(key))))
        for key in runs.keys
    ]
    return Table(("setting", "value"), tuple(rows), words=2)


def environment(cells: Sequence[Cell]) -> Table:
    """Return what the runs ran on; where they differ, all values."""
    given = [record.environment for cell in cells for record in cell.records]
    rows = [
        (str(key), "  ·  ".join(unique(written(one[key]) for one in given if key in one)))
        for key in unique(key for one in given for key in one)
    ]
    return Table(("environment", "value"), tuple(rows), words=2)


def runs(cells: Sequence[Cell]) -> Table:
    """Return one row per record: its digest, what tells it apart, and its time."""
    rows = []
    for cell in cells:
        rate = text.learning_rate(cell.lr) if cell.lr is not None else text.MISSING
        labels = (cell.network, cell.criterion, cell.repair, cell.extra or text.MISSING)
        for row, record in zip(cell.rows, cell.records, strict=True):
            seed = str(cell.runs.seeds[row])
            time = duration(record.total_seconds)
            rows.append((record.digest, *labels, text.plain(cell.ratio), rate, seed, time))
    head = ("digest", "network", "criterion", "repair", "variant", "ratio", "LR", "seed", "time")
    return Table(head, tuple(rows), words=5)
