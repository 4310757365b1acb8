"""What was asked: the settings of a study as a reader would tell them, and in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from isoprune.comparison import text
from isoprune.reporting.pivots import Table
from isoprune.reporting.study import ADVISED, Cell, seed_of, settings, unique, value, varied

_TRAINING = (
    "epochs",
    "lr",
    "batch",
    "weight_decay",
)


def question(cells: Sequence[Cell]) -> str:
    """Return what these runs can answer."""
    repaired = any(not cell.untouched and not cell.scratch for cell in cells)
    retrained = [cell for cell in cells if cell.lr is not None]
    if not retrained:
        return "What does pruning do to the singular values of a network’s input-output Jacobian" + (
            ", and what does repair make of them?" if repaired else "?"
        )
    if len(unique(cell.lr for cell in retrained)) > 1:
        return "After pruning, does the learning rate decide how well a network retrains" + (
            ", and is that still so once its dynamical isometry is repaired?" if repaired else "?"
        )
    return "How well does a pruned network retrain" + (
        ", and does repairing its dynamical isometry change that?" if repaired else "?"
    )


def setup(cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """Return the steps of the experiment, a name and a phrase each; several values are all listed."""
    flat = [settings(record) for cell in cells for record in cell.records]
    seeds = sorted({seed_of(record) for cell in cells for record in cell.records})
    ratios = [text.plain(ratio) for ratio in sorted({cell.ratio for cell in cells})]
    criteria = unique(cell.criterion for cell in cells if cell.criterion)
    by = f" by {text.listed(criteria)}" if criteria else ""
    steps = [
        ("Network", text.listed(unique(cell.network for cell in cells))),
        ("Data", _values(flat, "data.name")),
        ("Dense", _training(flat, "dense")),
        ("Pruned", f"ratio {text.listed(ratios)} of the filters{by}"),
        ("Repaired", text.listed(unique(cell.repair for cell in cells))),
    ]
    retrained = [settings(record) for cell in cells if cell.lr is not None for record in cell.records]
    steps.append(("Retrained", _training(retrained, "retrain") if retrained else "not in this study"))
    return [(name, told) for name, told in [*steps, ("Seeds", _seeds(seeds))] if told]


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return text.listed([str(seed) for seed in seeds])


def _values(flat: Sequence[Mapping[str, Any]], key: str) -> str:
    found = unique(one[key] for one in flat if one.get(key) is not None)
    show = text.learning_rate if key.endswith((".lr", ".weight_decay")) else text.setting
    return text.listed(["as advised" if item == ADVISED else show(item) for item in found])


def _training(flat: Sequence[Mapping[str, Any]], section: str) -> str:
    told = {key: _values(flat, f"{section}.{key}") for key in _TRAINING}
    schedule = text.listed(unique(filter(None, (_schedule(one, f"{section}.schedule") for one in flat))))
    phrases = [
        f"{told['epochs']} epochs" if told["epochs"] else "",
        f"LR {told['lr']}" if told["lr"] else "",
        schedule,
        f"batch {told['batch']}" if told["batch"] else "",
        f"weight decay {told['weight_decay']}" if told["weight_decay"] else "",
    ]
    return ", ".join(filter(None, phrases))


def _schedule(flat: Mapping[str, Any], section: str) -> str:
    """Return one schedule in words, with its milestones, and the one it holds if it does."""
    told = str(flat.get(f"{section}.name") or "")
    if milestones := flat.get(f"{section}.milestones"):
        told += f" at {text.setting(milestones)[1:-1]}"
    if told and flat.get(f"{section}.gamma") is not None and not flat.get(f"{section}.schedule.name"):
        told += f" (× {text.setting(flat[f'{section}.gamma'])})"
    inner = _schedule(flat, f"{section}.schedule") if f"{section}.schedule.name" in flat else ""
    return f"{told} of {inner}" if inner else told


def configuration(cells: Sequence[Cell]) -> Table:
    """Return every setting with dotted keys; where the runs differ, all its values."""
    records = [record for cell in cells for record in cell.records]
    differing = varied(records)
    flat = [settings(record) for record in records]
    rows = []
    for key in unique(key for one in flat for key in one):
        values = differing.get(key, [next(one[key] for one in flat if key in one)])
        rows.append((key, "  ·  ".join(text.MISSING if v is None else text.setting(v) for v in values)))
    return Table(("setting", "value"), tuple(rows), words=2)


def environment(cells: Sequence[Cell]) -> Table:
    """Return what the runs ran on; where they differ, all values."""
    found = [record.get("environment") or {} for cell in cells for record in cell.records]
    rows = [
        (str(key), "  ·  ".join(unique(text.setting(one[key]) for one in found if key in one)))
        for key in unique(key for one in found for key in one)
    ]
    return Table(("environment", "value"), tuple(rows), words=2)


def runs(cells: Sequence[Cell]) -> Table:
    """Return one row per record: its digest, what tells it apart, and its time."""
    rows = []
    for cell in cells:
        for record in cell.records:
            spent = record.get("seconds") or {}
            seconds = sum(s for s in (value(spent, key) for key in spent) if s == s)
            words = (str(record.get("digest", text.MISSING)), cell.network, cell.criterion, cell.repair)
            rate = text.learning_rate(cell.lr) if cell.lr is not None else text.MISSING
            details = (cell.extra or text.MISSING, text.plain(cell.ratio), rate, str(seed_of(record)))
            rows.append((*words, *details, text.duration(seconds)))
    head = ("digest", "network", "criterion", "repair", "variant", "ratio", "LR", "seed", "time")
    return Table(head, tuple(rows), words=5)
