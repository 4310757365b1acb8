"""A page of several criteria never speaks of them as of one: sentences, cards, histograms, styles, tables."""

from __future__ import annotations

import re
from statistics import fmean

import pytest
from msgspec.structs import replace

from isoprune.reporting import series, tables
from isoprune.reporting.sentences import explain
from isoprune.reporting.study import make_cells
from isoprune.types.record import NetworkRecord, Record

from .records import record

CRITERIA = {"l1_norm": 0.0, "taylor": -0.03, "their:own": 0.02}  # what each does to every accuracy
CALLED = {"l1_norm": "L1", "taylor": "taylor", "their:own": "their:own"}
RATIOS, REPAIRS, SEEDS = (0.5, 0.8), ("none", "orthp", "polar"), (0, 1, 2)


def changed(network: NetworkRecord, criterion: str, by: float) -> NetworkRecord:
    if network.role == "dense":
        return network
    metrics = {name: (value or 0.0) + by for name, value in network.metrics.items()}
    jsv = {**network.jsv, "mean": network.jsv["mean"] * (1 + 10 * by)}
    return replace(
        network, digest=f"{network.digest}-{criterion.replace(':', '-')}", metrics=metrics, jsv=jsv
    )


@pytest.fixture(scope="module")
def study() -> list[Record]:
    """Three criteria, one of them the user's own, two ratios, three repairs, three seeds."""
    made = []
    for criterion, by in CRITERIA.items():
        for ratio in RATIOS:
            for repair in REPAIRS:
                for seed in SEEDS:
                    one = record(
                        seed=seed, activation="relu", criterion=criterion, ratio=ratio, repair=repair
                    )
                    networks = [changed(n, criterion, by) for n in one.networks]
                    made.append(replace(one, networks=networks))
    return made


def mean(study: list[Record], role: str, of: str, **where: object) -> float:
    """Return a number over seeds, recomputed from the records alone."""
    keys = {
        "criterion": lambda r: r.config["prune"]["criterion"]["name"],
        "repair": lambda r: r.config["repair"]["name"],
    }
    keys["ratio"] = lambda r: r.config["prune"]["ratio"]
    found = {}
    for one in study:
        if all(keys[key](one) == value for key, value in where.items()):
            network = one.network(role)
            found[one.config["seed"]] = network.jsv["mean"] if of == "jsv" else network.metrics[of]
    assert len(found) == len(SEEDS)
    return fmean(found.values())


def test_every_sentence_names_its_criterion_and_has_its_numbers(study: list[Record]):
    rising, repaired = explain(study)
    assert rising.startswith("As the ratio rises, ")
    for criterion, name in CALLED.items():
        [clause] = [
            c for c in re.split(r"(?<!\d)[;,] (?=the mean JSV)", rising) if f"mlp_7 relu ({name})" in c
        ]
        dense = mean(study, "dense", "jsv", criterion=criterion, ratio=0.8, repair="none")
        last = mean(study, "pruned", "jsv", criterion=criterion, ratio=0.8, repair="none")
        shown = [
            float(n) for n in re.findall(r"from ([\d.]+) \(dense\) to ([\d.]+) at ratio 0\.8", clause)[0]
        ]
        assert shown == pytest.approx([dense, last], rel=5e-3)
        said = re.findall(
            rf"mlp_7 relu \({re.escape(name)}, ratio 0\.8\): at its best LR (\S+) ends at ([\d.]+) %",
            repaired,
        )
        wanted = {
            r: mean(study, "retrained", "test_accuracy", criterion=criterion, ratio=0.8, repair=r)
            for r in REPAIRS[1:]
        }
        assert {n: float(v) for n, v in said} == pytest.approx(
            {"OrthP": 100 * wanted["orthp"], "polar": 100 * wanted["polar"]}, abs=0.05
        )


def test_cards_and_histograms_are_of_one_criterion_each(study: list[Record]):
    stages = [s for s in series.stages(make_cells(study)) if s.ratio == 0.8]
    labels = [stage.label for stage in stages]
    assert labels[0] == "dense"
    assert sorted(labels[1:]) == sorted(
        f"{name}, {state}" for name in CALLED.values() for state in ("pruned", "OrthP", "polar")
    )
    for stage in stages[1:]:
        assert len({cell.criterion for cell in stage.cells}) == 1
        assert stage.label.startswith(stage.cells[0].criterion)


@pytest.mark.parametrize("legend", [series.retrained_series, series.ratio_series])
def test_no_two_methods_are_drawn_alike(study: list[Record], legend):
    entries = list(legend(make_cells(study)))
    assert len(entries) == 9
    styles = {(entry.colour, entry.dash, entry.shape) for entry in entries}
    assert len(styles) == len(entries)
    assert len({entry.label for entry in entries}) == len(entries)


def test_what_went_of_every_layer_says_by_which_criterion(study: list[Record]):
    table = tables.groups(make_cells(study))
    assert table.columns[:3] == ("network", "criterion", "units")
    assert {row[1] for row in table.rows} == set(CALLED.values())


def test_further_settings_are_told_apart_where_they_change_what_is_pruned(study: list[Record]):
    one = [
        r
        for r in study
        if r.config["prune"]["criterion"]["name"] == "l1_norm" and r.config["prune"]["ratio"] == 0.8
    ]
    other = [
        replace(
            r,
            digest=f"{r.digest}g",
            config={**r.config, "prune": {**r.config["prune"], "allocation": "global"}},
            networks=[changed(n, "global", -0.05) for n in r.networks],
        )
        for r in one
    ]
    one = [
        replace(r, config={**r.config, "prune": {**r.config["prune"], "allocation": "uniform"}}) for r in one
    ]
    labels = [stage.label for stage in series.stages(make_cells([*one, *other]))]
    assert {"allocation uniform, pruned", "allocation global, pruned"} <= set(labels)
    removal, *_ = explain([*one, *other])
    assert re.search(
        r"relu \(allocation global\) goes from .* relu \(allocation uniform\) goes from", removal
    )
