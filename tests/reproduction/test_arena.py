"""The arena: which runs there are, rankings, rank correlations, and what a repair does to an order."""

from __future__ import annotations

import collections
import csv
import io
import math

import pytest
from msgspec import structs

from isoprune.experiment.config import experiment
from isoprune.experiment.grid import Study
from isoprune.methods.criteria import CRITERIA
from isoprune.reproduction import find, study_of, tables
from isoprune.reproduction.arena import ranked_panels, with_every_criterion
from isoprune.reproduction.claims import CONFIRMED, NOT_CONFIRMED, Place
from isoprune.reproduction.rank_correlation import correlations, jsv_orders
from isoprune.reproduction.ranking import differences, ranking
from isoprune.reproduction.repaired_order import orders
from isoprune.types.method import method_of
from isoprune.types.record import NetworkRecord, Record


def run(reached, *, jsv=1.0, seed=0, before=0.1):
    """Return a record of a network of this accuracy; the pruned one has this mean JSV."""
    sizes = dict.fromkeys(("parameters", "nonzero", "flops", "step"), 1)
    roles = {
        "dense": (0.9, 2.0),
        "pruned": (before, jsv),
        "repaired": (before, jsv),
        "retrained": (reached, 1.0),
    }
    networks = [
        NetworkRecord(role=role, digest=role, metrics={"test_accuracy": a}, jsv={"mean": j}, **sizes)
        for role, (a, j) in roles.items()
    ]
    return Record(digest="d", name="arena", config={"seed": seed}, networks=networks)


def cells_of(rows, panel="net, weights", column="0.9"):
    """Return cells of (accuracy, JSV) by row, a pair a seed."""
    return {
        Place(panel, row, column): {s: run(a, jsv=j, seed=s) for s, (a, j) in enumerate(own)}
        for row, own in rows.items()
    }


def criteria_in(model, **prune):
    table = {
        "data": "digits",
        "model": model,
        "steps": [
            {"kind": "train", "epochs": 1, "lr": 0.1},
            {"kind": "prune", "criterion": "every", **prune},
            {"kind": "retrain", "epochs": 1, "lr": 0.1},
        ],
    }
    made = with_every_criterion(Study("s", (experiment(table),)), 0).experiments
    return {e.prune.criterion.name: e for e in made}


@pytest.mark.parametrize("grain", ["channel", "weight"])
def test_every_criterion_that_knows_the_grain_has_a_run_with_what_it_needs(grain):
    found = criteria_in("resnet_small", ratio=0.7, grain=grain)
    known = {name for name, f in CRITERIA.items() if grain in method_of(f).grains}
    # Of single weights |w| orders as w^2 does, and |w g| is one number.
    same = {"l2_norm", "taylor"} if grain == "weight" else set()
    assert found.keys() == known - {"karnin"} - same
    assert found["edge_popup"].prune.criterion.options["ratio"] == 0.7
    reads = {name for name, e in found.items() if "batches" in e.prune.criterion.options}
    assert reads == {name for name in found if "data" in method_of(CRITERIA[name]).needs}
    assert (
        len({repr(structs.replace(e, steps=e.steps[:1])) for e in found.values()}) == 1
    )  # one dense network


def test_scales_of_batchnorms_are_for_networks_that_have_them():
    assert "bn_scale" in criteria_in("resnet_small", ratio=0.5)
    assert "bn_scale" not in criteria_in("mlp_7", ratio=0.5)


def test_tables_of_the_laptop_study():
    arena = find("arena")
    from isoprune.comparison.records import flatten

    places = [arena.place(flatten(e.as_dict())) for e in study_of(arena, "laptop").experiments]
    rows = collections.defaultdict(set)
    for place in places:
        rows[place.panel].add(place.row)
    assert rows["lenet_5, tickets"] == {"ticket", "drawn anew", "weights rewound", "last rate"}
    assert rows["lenet_5, grains"] == {"weight", "vector", "kernel", "filter"}
    assert {"l1_norm", "l1_norm, ERK", "obs", "random"} <= rows["lenet_5, weights"]
    assert "obs + reconstruct" in rows["lenet_5, weights, repaired"]
    for grain in ("channel", "weight", "vector", "kernel", "filter"):
        assert {"l1_norm", "snip", "random"} <= rows[f"lenet_5, {grain}s, 10 epochs"]
    assert "lenet_5, kernels" not in rows


def test_a_ranking_has_the_mean_paired_difference_over_the_ratios_that_both_have():
    low = cells_of({"l1_norm": [(0.5, 1), (0.6, 1)], "obs": [(0.52, 1), (0.64, 1)]}, column="0.5")
    high = cells_of({"l1_norm": [(0.3, 1), (0.4, 1)], "obs": [(0.40, 1)]}, column="0.9")
    (test,) = differences({**low, **high}, "net, weights", "l1_norm", ["obs"])
    # seed 0: (2 + 10) / 2 points, seed 1: 4, at 0.5 alone.
    assert (test.n, test.mean) == (2, pytest.approx(5.0))
    assert test.high - test.mean == pytest.approx(12.706 * math.sqrt(2) / math.sqrt(2), rel=1e-3)


def test_a_ranking_counts_what_is_shown_and_puts_the_baseline_where_it_belongs():
    base = [(0.50, 1), (0.55, 1), (0.60, 1)]
    rows = {
        "l1_norm": base,
        "obs": [(a + 0.1 + 0.001 * s, 1) for s, (a, _) in enumerate(base)],
        "snip": [(a - 0.01 * (-1) ** s, 1) for s, (a, _) in enumerate(base)],
        "random": [(a - 0.2 - 0.001 * s, 1) for s, (a, _) in enumerate(base)],
    }
    section = ranking(cells_of(rows), "net, weights", "l1_norm")
    assert [row[0] for row in section.table.rows] == ["obs", "l1_norm", "snip", "random"]
    assert "show 1 above l1_norm and 1 below it" in section.lead
    assert ranking(cells_of({"obs": base}), "net, weights", "l1_norm") is None


@pytest.mark.parametrize(("sign", "word"), [(1, CONFIRMED), (-1, NOT_CONFIRMED)])
def test_the_jsv_orders_where_it_rises_with_what_is_reached(sign, word):
    def own(i, seed):
        swap = i if (seed, i) not in ((0, 3), (0, 4)) else 7 - i  # seed 0 has one pair the other way round
        return 0.1 * swap, 10.0 ** (sign * i)

    cells = cells_of({f"c{i}": [own(i, s) for s in range(4)] for i in range(8)})
    verdict = jsv_orders(ranked_panels)(find("arena"), cells)
    assert verdict.word == word
    assert verdict.tests[0].mean == pytest.approx(sign * (1 - 2 / 28 / 4))
    rows = correlations(cells, ranked_panels(cells)).table.rows
    assert rows[0][:3] == ("net, weights", "0.9", "4")


def test_a_repair_that_lifts_all_alike_changes_no_order():
    rows = {"a": [(0.1, 1), (0.2, 1)], "b": [(0.3, 1), (0.5, 1)], "c": [(0.4, 1), (0.3, 1)]}
    cells = cells_of(rows)
    for repair, change in (("same", lambda a: a + 0.2), ("turned", lambda a: 0.9 - a)):
        changed = {f"{k} + {repair}": [(change(a), 3.0) for a, _ in own] for k, own in rows.items()}
        cells |= cells_of(changed, panel="net, weights, repaired")
    section = orders(cells, "net, weights, repaired")
    assert section.table.columns[2:] == ("none", "same", "turned")
    assert section.table.rows[0] == ("a", "2", "15.00 (1.00)", "35.00 (3.00)", "75.00 (3.00)")
    *_, same, turned = section.table.rows[-1]
    assert (same[:5], turned[:5]) == ("+1.00", "−1.00")


def test_every_run_is_a_line_of_the_table_of_all():
    cells = cells_of({"a": [(0.1, 1), (0.2, 1)], "b": [(0.3, 0.5)]})
    lines = list(csv.DictReader(io.StringIO(tables.as_csv(tables.every_run(cells)))))
    assert [(one["method"], one["seed"], one["retrained.test_accuracy"]) for one in lines] == [
        ("a", "0", "0.1"), ("a", "1", "0.2"), ("b", "0", "0.3"),
    ]  # fmt: skip
    assert lines[2]["pruned.jsv.mean"] == "0.5"


def test_a_ranking_is_over_the_ratios_at_which_the_baseline_has_every_seed():
    both = cells_of({"l1_norm": [(0.5, 1), (0.6, 1)], "obs": [(0.52, 1), (0.64, 1)]}, column="0.5")
    one = cells_of({"l1_norm": [(0.1, 1)], "obs": [(0.9, 1)]}, column="0.9")
    section = ranking({**both, **one}, "net, weights", "l1_norm")
    assert "over the ratios 0.5 together" in section.lead
    assert section.table.rows[0][:3] == ("obs", "58.00", "+3.00")
