"""Long retraining at the best rate: the runs of each start, which rate counts, each cell's remaining gap."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import product

from isoprune.comparison import text
from isoprune.comparison.records import Flat
from isoprune.comparison.statistics import Summary, paired_difference, summarize
from isoprune.experiment.choice import Choice
from isoprune.experiment.config import Experiment
from isoprune.experiment.grid import Study
from isoprune.reproduction.arena import in_place
from isoprune.reproduction.claims import (
    JSV_BEFORE,
    TEST_ACCURACY,
    VALUES,
    Cells,
    Place,
    Section,
    Value,
    ratio_of,
)
from isoprune.reproduction.ranking import geometric, place_of
from isoprune.reproduction.repairs_arena import MANY, reads, with_start
from isoprune.types.record import Record
from isoprune.types.tables import Table

NONE, REPAIRED, CHOSEN = "none", "L1, then auto", "auto"
BUDGETS = ("full", "half")
_RATE = ", rate "
_BEFORE = VALUES["repaired.test_accuracy"]
_JSV_REACHED = VALUES["retrained.jsv.mean"]
_VALIDATION = Value("validation accuracy after retraining, %", "retrained.validation_accuracy")


def _each(one: Experiment) -> Iterator[Experiment]:
    auto, reconstruction = (Choice(name, reads(name, MANY)) for name in ("auto", "reconstruction"))
    yield with_start(one, Choice("none"))
    yield with_start(one, auto, reconstruction)
    if one.retrain.epochs == one.dense.epochs:
        yield with_start(one, auto)


def _turn(one: Experiment) -> tuple[bool, int]:
    return one.prune.criterion.name == "l1_norm" and one.repair.name == "auto", one.seed


def with_every_start(study: Study, classes: int) -> Study:
    """Return the study with a run of each start in place of one of the repair "every".

    Seed after seed, so that a study that was stopped has all cells of the seeds that it has; the repair of
    what L1 chose, which is run at full budget alone, comes last.
    """
    made = in_place(lambda one: one.repair, _each)(study, classes)
    return dataclasses.replace(made, experiments=tuple(sorted(made.experiments, key=_turn)))


def place_full_budget(flat: Flat) -> Place:
    """Return a run's place: a table for each network, a row for each start and rate."""
    chosen = flat["prune.criterion.name"] != "l1_norm"
    row = NONE if flat.get("repair.name", "none") == "none" else CHOSEN if chosen else REPAIRED
    budget = BUDGETS[flat["retrain.epochs"] < flat["dense.epochs"]]
    return Place(str(flat["model.name"]), f"{row}{_RATE}{flat['retrain.lr']:g}", f"{ratio_of(flat)} {budget}")


def of_best_rates(cells: Cells) -> Cells:
    """Return of each start and seed the run of the rate that ended highest on validation data."""
    found: dict[Place, dict[int, Record]] = {}
    for place, seeds in cells.items():
        best = found.setdefault(dataclasses.replace(place, row=place.row.partition(_RATE)[0]), {})
        for seed, record in seeds.items():
            if seed not in best or _reached(record) > _reached(best[seed]):
                best[seed] = record
    return found


def _reached(record: Record) -> float:
    accuracy = _VALIDATION.of(record)
    return -math.inf if math.isnan(accuracy) else accuracy


def full_budget_sections(cells: Cells) -> list[Section]:
    """Return every cell: its start, its end, and how far it is from no repair at its and at full budget."""
    panels = dict.fromkeys(place.panel for place in cells)
    ratios = sorted({place.column.split()[0] for place in cells}, key=float)
    rows, ahead, level, settings = [], Counter(), Counter(), 0
    for panel, ratio in product(panels, ratios):
        against = {budget: place_of(cells, panel, NONE, f"{ratio} {budget}") for budget in BUDGETS}
        settings += bool(against["full"])
        for row, budget in product((NONE, CHOSEN, REPAIRED), BUDGETS):
            own = place_of(cells, panel, row, f"{ratio} {budget}")
            if not own:
                continue
            cells_of_row = [text.MISSING, text.MISSING]
            for i, base in enumerate((budget, "full")):
                if (row, budget) == (NONE, base) or (base == budget and i):
                    continue
                difference = _difference(own, against[base])
                low, high = difference.interval
                interval = "" if math.isnan(low) else f" ({low:+.2f} to {high:+.2f})"
                cells_of_row[i] = f"{difference.mean:+.2f}{interval}".replace("-", "−")
                counter = ahead if base == budget else level
                counter[row, budget] += difference.excludes_zero and difference.mean > 0
            rows.append((panel, ratio, row, budget, *_numbers(own), *cells_of_row))
    head = (
        "network", "ratio", "start", "budget", "before, %", "JSV before", "after, %", "JSV after",
        "rates taken", "samples", "to none, points", "to none at full budget",
    )  # fmt: skip
    lead = (
        f"{CHOSEN} is above none by an interval without zero in {ahead[CHOSEN, 'full']} of {settings} cells "
        f"at full budget and in {ahead[CHOSEN, 'half']} at half of it, and in half the budget above none at "
        f"the full one in {level[CHOSEN, 'half']}; {REPAIRED} at full budget in {ahead[REPAIRED, 'full']}. "
        "Differences are paired by seed, with 95 % intervals that are not corrected for their number (p of "
        "the claims are). JSV: geometric means of mean JSV. Rates taken: in how many seeds each was highest "
        "on validation data. Samples: of all training after pruning."
    )
    return [Section("Cell by cell", lead, Table(head, tuple(rows), words=4))]


def _difference(own: Mapping[int, Record], base: Mapping[int, Record]) -> Summary:
    return paired_difference(
        *({seed: TEST_ACCURACY.compared(r) for seed, r in one.items()} for one in (own, base))
    )


def _numbers(own: Mapping[int, Record]) -> list[str]:
    records = list(own.values())
    before, after = (summarize(v.compared(r) for r in records) for v in (_BEFORE, TEST_ACCURACY))
    rates = Counter(record.config["retrain"]["lr"] for record in records)
    samples = {
        sum(n.training.samples for n in r.networks if n.training and n.role != "dense") for r in records
    }
    return [
        f"{before.mean:.1f}",
        geometric(JSV_BEFORE, records),
        f"{after.mean:.2f} ± {after.std:.2f}",
        geometric(_JSV_REACHED, records),
        ", ".join(f"{rate:g}: {n}" for rate, n in sorted(rates.items())),
        " to ".join(dict.fromkeys(f"{end:,}" for end in (min(samples), max(samples)))),
    ]
