"""The frontier: best and worst rate by validation, budgets apart from whole trainings, paired differences."""

from __future__ import annotations

from statistics import fmean

import pytest
from msgspec.structs import replace
from scipy import stats

from isoprune.reporting import figures, report
from isoprune.reporting.charts import specification
from isoprune.reporting.frontier import findings, paired, points, rows, table
from isoprune.reporting.sentences import explain
from isoprune.reporting.study import make_cells, split_by_budget
from isoprune.reporting.tables import results

from .records import record

BUDGETS, RATES, SEEDS = (20, 40), (1e-2, 1e-3), (0, 1, 2)


def accuracy(repair, steps, lr, seed):
    """Made so that what validation prefers is not what test would."""
    base = {"none": 0.5, "auto": 0.6}[repair] + 0.001 * steps + 0.01 * seed * (1 if repair == "auto" else 2)
    return {"validation": base - 0.1 * (lr == 1e-3), "test": base + 0.05 * (lr == 1e-3)}


def study(lost=()):
    made = []
    for repair in ("none", "auto"):
        for steps in BUDGETS:
            for lr in RATES:
                for seed in SEEDS:
                    if (repair, steps, lr, seed) in lost:
                        continue
                    one = record(seed=seed, repair=repair, lr=lr, epochs=1)
                    one = replace(one, digest=f"{repair}{steps}{lr}{seed}")
                    one.config["retrain"]["steps"] = steps
                    told = accuracy(repair, steps, lr, seed)
                    one.network("retrained").metrics["validation_accuracy"] = told["validation"]
                    one.network("retrained").metrics["test_accuracy"] = told["test"]
                    made.append(one)
    return made


def test_best_and_worst_are_chosen_by_validation_and_told_on_test():
    found = {(p.method, p.steps): p for p in points(make_cells(study()))}
    for (method, steps), p in found.items():
        if steps:
            assert p.best == {s: accuracy(method, steps, 1e-2, s)["test"] for s in SEEDS}
            assert p.worst == {s: accuracy(method, steps, 1e-3, s)["test"] for s in SEEDS}
    assert {steps for _, steps in found} == {0, *BUDGETS}
    start = {r.config["seed"]: r.network("repaired").metrics["test_accuracy"] for r in study()}
    assert found["auto", 0].best.keys() == start.keys()


def test_differences_are_paired_by_seed():
    found = {(p.method, p.steps): p for p in points(make_cells(study()))}
    told = paired(found["auto", 20], found["none", 40])
    by_hand = [accuracy("auto", 20, 1e-2, s)["test"] - accuracy("none", 40, 1e-2, s)["test"] for s in SEEDS]
    assert told.mean == pytest.approx(fmean(by_hand))
    half = stats.t.ppf(0.975, 2) * stats.tstd(by_hand) / 3**0.5
    assert told.interval == pytest.approx((fmean(by_hand) - half, fmean(by_hand) + half))
    (finding,) = findings(make_cells(study()))
    assert f"auto after 20 less no repair after 40 is {100 * fmean(by_hand):.1f}" in str(finding)


def test_a_rate_at_which_a_seed_is_missing_is_the_worst_and_never_the_best():
    cells = make_cells(study(lost=[("auto", 40, 1e-2, 1)]))
    found = {(p.method, p.steps): p for p in points(cells)}
    assert found["auto", 40].best == {s: accuracy("auto", 40, 1e-3, s)["test"] for s in SEEDS}
    assert found["auto", 40].worst == {}
    assert any("(diverged)" in word for row in table(cells).rows for word in row)


def test_budgets_stay_out_of_the_other_tables_and_figures():
    whole = [record(seed=s, repair=r, lr=lr) for s in SEEDS for r in ("none", "orthp") for lr in RATES]
    both = make_cells(study() + whole)
    assert results(both) == results(make_cells(whole))
    assert not table(make_cells(whole)).rows
    assert explain(study() + whole) == explain(whole)
    drawn = figures.accuracy_per_epoch(both)
    assert drawn is not None
    assert drawn.tables["rows"] == figures.accuracy_per_epoch(split_by_budget(both)[0]).tables["rows"]
    assert figures.accuracy_against_budget(make_cells(whole)) is None


def test_zero_steps_lie_left_of_all_budgets_and_are_called_zero():
    drawn, entries = rows(make_cells(study()))
    assert [e.label for e in entries] == [
        "no repair, best rate", "no repair, worst rate", "auto, best rate", "auto, worst rate"
    ]  # fmt: skip
    zero = [row for row in drawn if row["place"] == 0]
    assert {row["x"] for row in zero} == {5.0}
    spec = specification(figures.accuracy_against_budget(make_cells(study())))
    assert "'5': '0'" in str(spec)


def test_the_page_counts_networks_and_not_its_sections(tmp_path):
    page = report(study(), tmp_path / "page.html").read_text()
    assert f"{len(study())} runs · 1 network" in page


def test_settings_that_differ_are_points_of_their_own():
    """Another weight decay, or another criterion, must not take the place of the first."""
    other = study()
    for one in other:
        one.config["retrain"]["weight_decay"] = 0.5
        one.network("retrained").metrics["test_accuracy"] = 0.25
    found = points(make_cells(study() + other))
    assert len(found) == 2 * len(points(make_cells(study())))
    lower = [p for p in found if p.steps and set(p.best.values()) == {0.25}]
    assert {p.repair for p in lower} == {"no repair, weight_decay 0.5", "auto, weight_decay 0.5"}
    for p in (p for p in found if p.steps and p not in lower):
        assert p.best == {s: accuracy(p.method, p.steps, 1e-2, s)["test"] for s in SEEDS}
