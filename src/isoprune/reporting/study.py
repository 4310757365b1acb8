"""Records -> cells: what was varied gets a label, and the seeds of one setting come together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, median_low
from typing import Any

from isoprune.comparison import text
from isoprune.comparison.records import Record, check_records

_NETWORK = ("data", "model", "dense")
_WATCHING = ("trackers", "checkpoint_steps", "checkpoint_seconds")  # these change no result
ADVISED = "auto"
_CHOICES = ("data", "model", "prune.criterion", "repair")


@dataclass(frozen=True)
class Cell:
    """One setting with all its seeds. Labels name only what tells it from the other cells.

    ``steps`` is the budget of its retraining, None where it was retrained for whole epochs or not at all.
    """

    network: str
    criterion: str
    ratio: float
    repair: str
    lr: float | None
    extra: str
    steps: int | None
    records: tuple[Record, ...]

    @property
    def untouched(self) -> bool:
        """Whether the pruned network was retrained as it is, with no repair and not rewound."""
        flat = settings(self.records[0])
        return flat.get("repair.name", "none") == "none" and flat.get("rewind") is None

    @property
    def scratch(self) -> bool:
        """Whether the weights were drawn anew: the control, not a repair."""
        return settings(self.records[0]).get("repair.name") == "scratch"


def make_cells(records: Sequence[Record]) -> tuple[Cell, ...]:
    """Return the cells of the finished records, in reading order.

    Networks come in the order of the records; within one, ratio, then no repair before repairs
    before the control, then the largest learning rate first. A seed that comes twice counts once.

    Raises:
        IsopruneError: If no record is finished, or one is not a record.
    """
    finished = check_records(records)
    flat = [settings(record) for record in finished]
    networks = _labels(flat, _is_network, _network_name)
    criteria = _labels(flat, lambda key: key.startswith("prune.criterion."), _criterion_name)
    repairs: list[str] = [""] * len(flat)
    extras: list[str] = [""] * len(flat)
    for network in dict.fromkeys(networks):
        # Within a network: a gain that follows the activation is no second method.
        own = [i for i, label in enumerate(networks) if label == network]
        for i, repair in zip(own, _labels([flat[i] for i in own], _is_repair, _repair_name), strict=True):
            repairs[i] = repair
        # A measurement has no retraining that could differ from that of other runs, and a run with a
        # budget of steps is compared with its like alone.
        for covers in _EXTRAS.values():
            part = [i for i in own if _EXTRAS[_kind(finished[i], flat[i])] is covers]
            here = [flat[i] for i in part]
            taught = _labels(here, _is_distillation, _distillation_name)
            for i, *words in zip(part, taught, _labels(here, covers, lambda _: ""), strict=True):
                extras[i] = ", ".join(filter(None, words))
    ratios = _ratios(finished, flat, networks)
    found: dict[tuple[str, str, float, str, float | None, str, int | None], dict[int, Record]] = {}
    for i, record in enumerate(finished):
        lr, steps = _lr(record, flat[i]), _steps(record, flat[i])
        key = (networks[i], criteria[i], ratios[i], repairs[i], lr, extras[i], steps)
        found.setdefault(key, {})[seed_of(record)] = record
    cells = [_cell(key, tuple(seeds[s] for s in sorted(seeds))) for key, seeds in found.items()]
    order = list(dict.fromkeys(networks))
    return tuple(sorted(cells, key=lambda cell: _reading_order(cell, order)))


def _cell(
    key: tuple[str, str, float, str, float | None, str, int | None], records: tuple[Record, ...]
) -> Cell:
    network, criterion, ratio, repair, lr, extra, steps = key
    if lr == 0.0:
        lr = median(value(record, "advice", "lr") for record in records)
        extra = ", ".join(filter(None, ["advised rate", extra]))
    return Cell(network, criterion, ratio, repair, lr, extra, steps, records)


def settings(record: Record) -> dict[str, Any]:
    """Return a record's config with dotted keys; a choice given as a word is its ``name``."""
    flat: dict[str, Any] = {}

    def walk(value: object, path: str) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                if key not in _WATCHING:
                    walk(inner, f"{path}.{key}" if path else str(key))
        elif path in _CHOICES or path.endswith(".schedule"):
            flat[f"{path}.name"] = value
        else:
            flat[path] = tuple(value) if isinstance(value, list) else value

    walk(record["config"], "")
    return flat


def seed_of(record: Record) -> int:
    """Return the record's seed; 0 if its config has none."""
    return int(record["config"].get("seed", 0))


def ratio_of(record: Record) -> float:
    """Return the ratio that was asked for, or, if it was not one number, the realised one of filters."""
    asked = record["config"].get("prune", {}).get("ratio", 0.0)
    if isinstance(asked, int | float):
        return float(asked)
    realised = value(record, "ratios", "filters")
    return realised if math.isnan(realised) else round(realised, 2)


def _ratios(
    records: Sequence[Record], flat: Sequence[Mapping[str, Any]], networks: Sequence[str]
) -> list[float]:
    """Return each record's ratio; where a target was asked for, the middle one of all with that target.

    What meets a target of FLOPs or parameters may differ from seed to seed, and these are one setting.
    """
    asked = [
        (network, *sorted((key, str(item)) for key, item in one.items() if key.startswith("prune.")))
        for network, one in zip(networks, flat, strict=True)
    ]
    own = [ratio_of(record) for record in records]
    return [median_low([r for r, other in zip(own, asked, strict=True) if other == mine]) for mine in asked]


def value(record: Record, *path: str) -> float:
    """Return the number at ``path`` of a record, NaN if it is missing or not a number."""
    found: Any = record
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            return math.nan
        found = found[key]
    if isinstance(found, bool) or not isinstance(found, int | float):
        return math.nan
    return float(found)


def apart(cells: Iterable[Cell]) -> tuple[list[Cell], list[Cell]]:
    """Return the cells of runs without a budget of steps, and those with one: the frontier."""
    given = list(cells)
    return [cell for cell in given if cell.steps is None], [cell for cell in given if cell.steps is not None]


def by_seed(cells: Iterable[Cell], *path: str) -> dict[int, float]:
    """Return the finite numbers at ``path``, one per seed.

    Cells that differ only after a stage share it, so a seed counts once however many cells it is in.
    """
    numbers = {seed_of(record): value(record, *path) for cell in cells for record in cell.records}
    return {seed: found for seed, found in numbers.items() if math.isfinite(found)}


def unique(items: Iterable[Any]) -> list[Any]:
    """Return the items once each, in order."""
    return list(dict.fromkeys(items))


def varied(records: Sequence[Record]) -> dict[str, list[Any]]:
    """Return the dotted keys whose value is not the same in all records, with their values."""
    flat = [settings(record) for record in records]
    keys = unique(key for one in flat for key in one)
    values = {key: unique(_hashable(one.get(key)) for one in flat) for key in keys}
    return {key: found for key, found in values.items() if len(found) > 1}


def _lr(record: Record, flat: Mapping[str, Any]) -> float | None:
    """Return the learning rate that was asked for; 0 if it was advised, to each seed its own."""
    lr = flat.get("retrain.lr")
    if lr == ADVISED and "retrained" in record["stages"]:
        return 0.0
    return float(lr) if "retrained" in record["stages"] and isinstance(lr, int | float) else None


def _steps(record: Record, flat: Mapping[str, Any]) -> int | None:
    steps = flat.get("retrain.steps")
    return int(steps) if "retrained" in record["stages"] and isinstance(steps, int | float) else None


def _kind(record: Record, flat: Mapping[str, Any]) -> str:
    if "retrained" not in record["stages"]:
        return "measurement"
    return "epochs" if _steps(record, flat) is None else "budget"


def _is_network(key: str) -> bool:
    return key.split(".")[0] in _NETWORK


def _is_distillation(key: str) -> bool:
    return key.startswith("retrain.distill.")


def _distillation_name(flat: Mapping[str, Any]) -> str:
    """Return what tells a run with a teacher from one that learned from labels alone."""
    return "with distillation" if flat.get("retrain.distill.weight") is not None else ""


def _is_extra(key: str) -> bool:
    covered = key in ("seed", "prune.ratio", "retrain.lr", "rewind") or key.startswith(
        ("prune.criterion.", "repair.")
    )
    return not covered and not _is_network(key) and not _is_distillation(key)


def _is_extra_of_measurement(key: str) -> bool:
    return _is_extra(key) and not key.startswith("retrain.")


def _is_extra_of_budget(key: str) -> bool:
    # With a budget of steps, the number of epochs says nothing.
    return _is_extra(key) and key not in ("retrain.steps", "retrain.epochs")


_EXTRAS = {"epochs": _is_extra, "measurement": _is_extra_of_measurement, "budget": _is_extra_of_budget}


def _is_repair(key: str) -> bool:
    return key.startswith("repair.") or key == "rewind"


def _network_name(flat: Mapping[str, Any]) -> str:
    words = (flat.get("model.name", "network"), flat.get("model.activation"))
    return " ".join(str(word) for word in words if word is not None)


def _criterion_name(flat: Mapping[str, Any]) -> str:
    return text.name(str(flat.get("prune.criterion.name", "")))


def _repair_name(flat: Mapping[str, Any]) -> str:
    steps, name = flat.get("repair.steps"), str(flat.get("repair.name", "none"))
    names = [str(step["name"]) for step in steps] if isinstance(steps, tuple) else [name]
    if flat.get("rewind") is None:
        return " + ".join(map(text.name, names))
    # Rewound first: a repair works on the weights of that epoch.
    rewound = f"rewound to epoch {flat['rewind']}"
    return " + ".join([rewound, *(text.name(name) for name in names if name != "none")])


def _labels(
    flat: Sequence[Mapping[str, Any]], covers: Callable[[str], bool], base: Callable[[Mapping[str, Any]], str]
) -> list[str]:
    """Return a label for each config: its base name, plus the covered options that tell equal names apart."""
    own = [{key: _hashable(item) for key, item in one.items() if covers(key)} for one in flat]
    names = [base(one) for one in flat]
    differing: dict[str, list[str]] = {}
    for label in unique(names):
        rivals = [other for other, rival in zip(own, names, strict=True) if rival == label]
        keys = unique(key for other in rivals for key in other)
        differing[label] = [key for key in keys if len({other.get(key) for other in rivals}) > 1]
    labels = []
    for mine, label in zip(own, names, strict=True):
        options = ", ".join(_option(key, mine.get(key)) for key in differing[label])
        labels.append(f"{label} ({options})" if label and options else label or options)
    return labels


def _option(key: str, found: Any) -> str:
    section, _, last = key.rpartition(".")
    if last == "name":
        return text.setting(found)
    return f"{key if section == 'dense' else last} {text.setting(found)}"


def _hashable(item: Any) -> Any:
    if isinstance(item, Mapping):
        return tuple((key, _hashable(inner)) for key, inner in item.items())
    return tuple(_hashable(inner) for inner in item) if isinstance(item, list | tuple) else item


def _reading_order(cell: Cell, networks: Sequence[str]) -> tuple:
    kind = str(settings(cell.records[0]).get("repair.name", "none"))
    # The control last, whatever repairs there are.
    rank = {"none": 0, "orthp": 1, "scratch": 3}.get(kind, 2)
    lr = -cell.lr if cell.lr is not None else 0.0
    place = (networks.index(cell.network), cell.criterion, cell.ratio, rank, cell.repair, cell.extra)
    return (*place, cell.steps or 0, lr)
