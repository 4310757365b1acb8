"""Runs -> cells: each setting gets a label of what was varied, and holds the runs of all its seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from statistics import median, median_low
from typing import Any

from isoprune.comparison.records import IGNORED, Flat, Runs, labels_apart, runs_of, under, written
from isoprune.comparison.runs import SCRATCH
from isoprune.comparison.statistics import Summary, summarize
from isoprune.reporting import theme
from isoprune.types.record import Record

ADVISED = "auto"
_NETWORK = ("data", "model", "dense")
_REPAIR = ("repair", "rewind")


@dataclass(frozen=True)
class Cell:
    """One setting with all its seeds. Labels name only what tells it from the other cells.

    ``steps`` is the budget of its retraining, None where it was retrained for whole epochs or not at all.
    ``untouched``: the pruned network was retrained as it is, with no repair and not rewound. ``scratch``: the
    weights were drawn anew: the control, no repair. ``colour``: of its criterion and repair, in every chart.
    """

    network: str
    criterion: str
    ratio: float
    repair: str
    lr: float | None
    extra: str
    steps: int | None
    untouched: bool
    scratch: bool
    records: tuple[Record, ...]
    colour: str = field(compare=False)
    runs: Runs = field(compare=False, repr=False)
    rows: tuple[int, ...] = field(compare=False, repr=False)

    def value(self, column: str) -> Any:
        """Return what its first run has in a column of the frame."""
        return self.runs.values(column)[self.rows[0]]


def make_cells(records: Sequence[Record] | Runs) -> tuple[Cell, ...]:
    """Return the cells of the finished records, in reading order.

    Networks come in the order of the records; within one, ratio, then no repair before repairs
    before the control, then the largest learning rate first. A seed that comes twice counts once.

    Raises:
        IsopruneError: If no record is finished, or one is not a record.
    """
    runs = runs_of(records)
    network = _labels(runs, _below(runs, _NETWORK), _network_name)
    criterion = _labels(runs, _below(runs, ("prune.criterion",)), _named(runs, "prune.criterion"))
    # Within a network: a gain that follows the activation is no second method.
    repair = _labels(runs, _below(runs, _REPAIR), _repair_name(runs), within=network)
    retrained = [digest is not None for digest in runs.values("retrained.digest")]
    steps = [
        int(n) if done and n is not None else None
        for n, done in zip(runs.values("retrain.steps"), retrained, strict=True)
    ]
    extra = _extras(runs, network, retrained, steps)
    ratio = _ratios(runs, network)
    lr = [value if done else None for value, done in zip(runs.values("retrain.lr"), retrained, strict=True)]
    rates = [0.0 if value == ADVISED else None if value is None else float(value) for value in lr]
    settings, _ = runs.by_seed(zip(network, criterion, ratio, repair, rates, extra, steps, strict=True))
    order = unique(network)
    cells = [_cell(runs, key, [rows[seed] for seed in sorted(rows)]) for key, rows in settings.items()]
    return _coloured(sorted(cells, key=lambda cell: _reading_order(cell, order)))


def _cell(runs: Runs, key: tuple[Any, ...], rows: Sequence[int]) -> Cell:
    network, criterion, ratio, repair, lr, extra, steps = key
    if lr == 0.0:  # advised, to each seed its own
        advised = runs.values("retrained.advice.lr")
        lr = median([advised[i] for i in rows])
        extra = ", ".join(filter(None, ["advised rate", extra]))
    method = runs.values("repair.name")[rows[0]] or "none"
    return Cell(
        network,
        criterion,
        ratio,
        repair,
        lr,
        extra,
        steps,
        untouched=method == "none" and runs.values("rewind")[rows[0]] is None,
        scratch=SCRATCH in method.split(" + "),
        records=tuple(runs.whole[i] for i in rows),
        colour="",
        runs=runs,
        rows=tuple(rows),
    )


def _coloured(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    fixed = {}
    for cell in cells:
        if cell.untouched or cell.scratch:
            fixed.setdefault(cell.repair, theme.UNTOUCHED if cell.untouched else theme.CONTROL)
    first = cells[0].criterion
    # The repairs of the first criterion are those of charts that know no criterion.
    names = [c.repair if c.criterion == first else f"{c.criterion}, {c.repair}" for c in cells]
    plain = [name for name, cell in zip(names, cells, strict=True) if cell.criterion == first]
    colours = theme.colours(unique([*plain, *names]), fixed)
    return tuple(replace(cell, colour=colours[name]) for cell, name in zip(cells, names, strict=True))


def _ratios(runs: Runs, networks: Sequence[str]) -> list[float]:
    """Return each run's ratio; where a target was set, the middle one of all with that target.

    It is the ratio of the config, or, if that is not one number, the fraction of filters that went. What
    meets a target of FLOPs or parameters may differ from seed to seed, and these are one setting.
    """
    kinds = (runs.values("removed.filters"), runs.values("removed.units"))
    removed = [round(filters or units or 0.0, 2) for filters, units in zip(*kinds, strict=True)]
    own = [
        float(ratio) if ratio is not None else realised
        for ratio, realised in zip(runs.values("prune.ratio"), removed, strict=True)
    ]
    targets: dict[tuple[str, int], list[float]] = {}
    places = list(zip(networks, runs.kinds(runs.below(["prune", "repeat"]))[1], strict=True))
    for place, ratio in zip(places, own, strict=True):
        targets.setdefault(place, []).append(ratio)
    return [median_low(targets[place]) for place in places]


def split_by_budget(cells: Iterable[Cell]) -> tuple[list[Cell], list[Cell]]:
    """Return the cells of runs without a budget of steps, and those with one: the frontier."""
    given = list(cells)
    return [cell for cell in given if cell.steps is None], [cell for cell in given if cell.steps is not None]


def by_seed(cells: Iterable[Cell], column: str) -> dict[int, float]:
    """Return the numbers of a column of the frame, one per seed.

    Cells that differ only after a stage share it, so a seed counts once however many cells it is in.
    """
    return {
        cell.runs.seeds[row]: float(number)
        for cell in cells
        for row in cell.rows
        if (number := cell.runs.values(column)[row]) is not None
    }


def over_seeds(cells: Iterable[Cell], column: str) -> Summary:
    """Return what the seeds say of a column of the frame."""
    return summarize(by_seed(cells, column).values())


def grouped(cells: Iterable[Cell], *labels: str) -> dict[Any, list[Cell]]:
    """Return the cells by what these labels of them are (a tuple, if there are several), in order."""
    found: dict[Any, list[Cell]] = {}
    for cell in cells:
        found.setdefault(attrgetter(*labels)(cell), []).append(cell)
    return found


def unique(items: Iterable[Any]) -> list[Any]:
    """Return the items once each, in order."""
    return list(dict.fromkeys(items))


def _extras(
    runs: Runs, network: Sequence[str], retrained: Sequence[bool], steps: Sequence[int | None]
) -> list[str]:
    """Return what else tells runs of a network apart, but for the seed.

    A measurement has no retraining that could differ from that of other runs, and a run with a budget of
    steps is compared with its like alone.
    """
    named = ("seed", "prune.ratio", "retrain.lr", "prune.criterion", "retrain.distill", *_NETWORK, *_REPAIR)
    covered = _below(runs, runs.keys, but=named)
    kinds = ["epochs" if n is None else "budget" for n in steps]
    kinds = [kind if done else "measurement" for kind, done in zip(kinds, retrained, strict=True)]
    within = list(zip(network, kinds, strict=True))
    # With a budget of steps, the number of epochs says nothing.
    left = {"epochs": (), "measurement": ("retrain",), "budget": ("retrain.steps", "retrain.epochs")}
    others = {
        kind: _labels(runs, [k for k in covered if not any(under(k, p) for p in but)], within=within)
        for kind, but in left.items()
    }
    taught = _labels(runs, _below(runs, ("retrain.distill",)), _distillation_name, within=within)
    return [", ".join(filter(None, (taught[i], others[kind][i]))) for i, kind in enumerate(kinds)]


def _below(runs: Runs, prefixes: Iterable[str], *, but: Iterable[str] = ()) -> list[str]:
    """Return the keys below ``prefixes`` and not below ``but``, as the config has them in order."""
    inside, outside = tuple(prefixes), (*IGNORED, *but)
    return [
        key
        for key in runs.keys
        if any(under(key, p) for p in inside) and not any(under(key, p) for p in outside)
    ]


def _labels(
    runs: Runs,
    keys: Sequence[str],
    base: Callable[[Flat], str] = lambda _: "",
    within: Sequence[Any] | None = None,
) -> list[str]:
    """Return a label for each run: its base name, plus the options that tell equal names apart.

    ``within``: runs of different groups need not be told apart.
    """
    flats, codes = runs.kinds(keys)
    groups: dict[Any, list[int]] = {}
    for row, group in enumerate(within or [None] * len(codes)):
        groups.setdefault(group, []).append(row)
    labels = [""] * len(codes)
    for rows in groups.values():
        kinds = unique(codes[row] for row in rows)
        own = [flats[kind] for kind in kinds]
        names = [base(flat) for flat in own]
        made = dict(zip(kinds, labels_apart(own, names, keys, _option), strict=True))
        for row in rows:
            labels[row] = made[codes[row]]
    return labels


def _option(key: str, value: Any) -> str:
    section, _, last = key.rpartition(".")
    if last == "name":
        return written(value)
    return f"{key if section == 'dense' else last} {written(value)}"


def _network_name(flat: Flat) -> str:
    words = (flat.get("model.name") or "network", flat.get("model.activation"))
    return " ".join(str(word) for word in words if word is not None)


def _named(runs: Runs, key: str) -> Callable[[Flat], str]:
    def name(flat: Flat) -> str:
        chosen = str(flat.get(f"{key}.name") or "")
        return " + ".join(runs.labels.get(word, word) for word in chosen.split(" + "))

    return name


def _repair_name(runs: Runs) -> Callable[[Flat], str]:
    def name(flat: Flat) -> str:
        chosen, rewound = str(flat.get("repair.name") or "none"), flat.get("rewind")
        words = [runs.labels.get(word, word) for word in chosen.split(" + ")]
        if rewound is None:
            return " + ".join(words)
        # Rewound first: a repair works on the weights of that epoch.
        return " + ".join([f"rewound to epoch {rewound}", *(words if chosen != "none" else [])])

    return name


def _distillation_name(flat: Flat) -> str:
    """Return what tells a run with a teacher from one that learned from labels alone."""
    return "with distillation" if flat.get("retrain.distill.weight") is not None else ""


def _reading_order(cell: Cell, networks: Sequence[str]) -> tuple[Any, ...]:
    # The control last, whatever repairs there are.
    rank = 0 if cell.untouched else 2 if cell.scratch else 1
    lr = -cell.lr if cell.lr is not None else 0.0
    place = (networks.index(cell.network), cell.criterion, cell.ratio, rank, cell.repair, cell.extra)
    return (*place, cell.steps or 0, lr)
