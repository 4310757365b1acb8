"""The full budget: its runs and their order, which rate counts, and how far each cell is from no repair."""

from __future__ import annotations

import collections
import math

from msgspec import structs

from isoprune.comparison.records import flatten
from isoprune.reproduction import find, study_of
from isoprune.reproduction.claims import Place
from isoprune.reproduction.full_budget import full_budget_sections, of_best_rates
from isoprune.types.record import NetworkRecord, Record, TrainingCost


def run(test, *, validation=0.5, seed=0, lr=0.1, repaired=0.2):
    sizes = dict.fromkeys(("parameters", "nonzero", "flops", "step"), 1)
    roles = {"dense": (0.9, 2.0), "repaired": (repaired, 0.5), "retrained": (test, 1.0)}
    networks = [
        NetworkRecord(
            role=role, digest=role, metrics={"test_accuracy": a, "validation_accuracy": validation},
            jsv={"mean": j}, **sizes,
        )
        for role, (a, j) in roles.items()
    ]  # fmt: skip
    return Record(digest="d", name="n", config={"seed": seed, "retrain": {"lr": lr}}, networks=networks)


def test_all_starts_have_one_grid_and_a_stopped_study_has_whole_seeds():
    study = find("full-budget")
    experiments = study_of(study, "laptop").experiments
    rates = collections.defaultdict(set)
    for e in experiments:
        place = study.place(flatten(e.as_dict()))
        start, _, rate = place.row.partition(", rate ")
        rates[place.panel, start, place.column, e.seed].add(rate)
    for network in ("mlp_7", "lenet_5", "resnet_small"):
        assert len({frozenset(own) for (panel, *_), own in rates.items() if panel == network}) == 1
    panels, seeds = 3, 8
    assert len(rates) == panels * seeds * (2 * 2 + 2 * 2 + 2), "ratios and budgets; L1, then auto: full only"
    order = [e.seed for e in experiments if e.prune.criterion.name != "l1_norm" or e.repair.name == "none"]
    assert order == sorted(order)
    assert len(order) == seeds * 2 * 2 * 2 * (3 + 4 + 4)


def test_the_rate_is_chosen_on_validation_data_seed_by_seed():
    slow, fast = (Place("net", f"auto, rate {rate}", "0.9 full") for rate in (0.1, 0.3))
    cells = {
        slow: {0: run(0.7, validation=0.8), 1: run(0.7, validation=0.6), 2: run(0.4, validation=math.nan)},
        fast: {0: run(0.9, validation=0.7), 1: run(0.5, validation=0.7), 2: run(0.6, validation=0.1)},
    }
    best = of_best_rates(cells)
    assert best == {
        Place("net", "auto", "0.9 full"): {0: cells[slow][0], 1: cells[fast][1], 2: cells[fast][2]}
    }


def test_a_cell_is_compared_with_no_repair_at_its_own_budget_and_at_the_full_one():
    ends = {("none", "full"): 0.5, ("none", "half"): 0.4, ("auto", "full"): 0.7, ("auto", "half"): 0.6}
    cells = {
        Place("net", row, f"0.9 {budget}"): {
            seed: run(
                end + 0.01 * seed + 0.001 * (row == "auto") * seed + 1e-4 * (budget == "half") * (seed - 1),
                seed=seed,
            )
            for seed in range(3)
        }
        for (row, budget), end in ends.items()
    }
    [section] = full_budget_sections(cells)
    told = {(row[2], row[3]): row for row in section.table.rows}
    assert told["auto", "full"][-2].startswith("+20.10 (")
    assert told["auto", "half"][-2].startswith("+20.10 (")
    assert told["auto", "half"][-1].startswith("+10.10 (")
    assert told["none", "half"][-1].startswith("−10.00 (")
    assert told["none", "full"][-2:] == ("–", "–")
    assert "in 1 of 1 cells at full budget and in 1 at half" in section.lead


def test_a_repair_that_trains_is_counted_with_the_samples_of_retraining():
    one = run(0.7)
    networks = [
        structs.replace(
            n, training=TrainingCost(samples={"dense": 1, "repaired": 500}.get(n.role, 1000), multiply_adds=0)
        )
        for n in one.networks
    ]
    cells = {Place("net", "none", "0.9 full"): {0: structs.replace(one, networks=networks)}}
    [section] = full_budget_sections(cells)
    assert "1,500" in section.table.rows[0]
