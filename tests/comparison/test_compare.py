"""Comparisons: what is paired with what, what is refused with which words, and that nothing is lost."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from scipy import stats

from comparison.made import FLOPS, changed, record
from isoprune.comparison import Comparison, Setup, UnfairComparison, compare, scratch_b, scratch_e
from isoprune.comparison.statistics import holm
from isoprune.types.record import Record

LUCK = [0.80, 0.83, 0.79, 0.85]
GAIN = [0.010, 0.014, 0.008, 0.011]


def runs(
    repair: str = "none", gains: list[float] = [0.0] * 4, seeds: Any = range(4), **more: Any
) -> list[Record]:
    return [record(LUCK[s] + gains[s], repair=repair, seed=s, **more) for s in seeds]


def only(comparison: Comparison):
    (difference,) = comparison.differences
    return difference


def test_a_difference_is_the_paired_t_test_over_seeds():
    got = only(compare(runs() + runs("orthp", GAIN)))
    want = stats.ttest_rel([a + b for a, b in zip(LUCK, GAIN, strict=True)], LUCK)
    assert (got.base, got.other, got.seeds, got.setup) == ("none", "orthp", (0, 1, 2, 3), Setup.S4_2)
    assert got.difference.mean == pytest.approx(np.mean(GAIN))
    np.testing.assert_allclose(got.difference.interval, want.confidence_interval(0.95), rtol=1e-9)
    assert got.p == pytest.approx(want.pvalue, rel=1e-9)
    assert got.corrected == got.p  # one test


def test_the_order_of_the_records_does_not_matter():
    records = [
        r
        for lr in (0.1, 0.01)
        for repair in ("polar", "none", "orthp")
        for r in runs(repair, GAIN, retrain__lr=lr)
    ]
    want = compare(records)
    shuffled = random.Random(0).sample(records, len(records))
    assert compare(shuffled) == want
    assert [(d.base, d.other) for d in want.differences][::2] == [
        ("none", "orthp"), ("none", "polar"), ("orthp", "polar")]  # fmt: skip


def test_all_tests_are_corrected_together():
    rng = np.random.default_rng(0)
    records = [
        r
        for lr, repair in itertools.product((0.1, 0.01), ("none", "orthp", "polar"))
        for r in runs(repair, rng.normal(0, 0.01, 4).tolist(), retrain__lr=lr)
    ]
    got = compare(records)
    assert (len(got.differences), got.tests) == (6, 6)
    assert [d.corrected for d in got.differences] == holm([d.p for d in got.differences])
    assert {d.where["retrain.lr"] for d in got.differences} == {"0.1", "0.01"}


def test_what_has_no_partner_is_told():
    got = compare(
        runs() + runs("orthp", GAIN, seeds=[0, 2]) + runs("orthp", GAIN, seeds=[1], retrain__lr=0.5)
    )
    assert only(got).seeds == (0, 2)
    assert only(got).unpaired == {"none": (1, 3)}
    assert got.left_out == (
        "orthp, retrain.lr = 0.5 (seed 1): no other method has been run at that setting.",
    )


def test_one_seed_is_a_difference_without_a_test():
    got = only(compare(runs(seeds=[2]) + runs("orthp", GAIN, seeds=[2])))
    assert (got.difference.n, got.difference.mean) == (1, pytest.approx(GAIN[2]))
    assert np.isnan([got.p, got.corrected]).all()
    assert not got.shown()


def test_records_that_cannot_be_used_are_left_out_in_words():
    measured = runs(retrain={"epochs": 0}, seeds=[0])
    unfinished = [replace(record(seed=1), status="running")]
    watched = runs(seeds=[3], retrain__trackers=["tensorboard"])
    got = compare(runs() + runs("orthp", GAIN) + measured + unfinished + watched)
    assert only(got).difference.n == 4
    assert got.left_out == (
        "1 run that is not finished.",
        "1 run without test_accuracy (not retrained).",
        "1 run of a setting and seed that is there already.",
    )
    assert compare(runs() + runs("orthp") + runs("polar"), without=["polar"]).left_out == (
        "4 runs of polar, as requested.",
    )


@pytest.mark.parametrize(
    ("by", "value", "base", "other"),
    [
        ("lr", "retrain__lr", 0.01, 0.1),
        ("schedule", "retrain__schedule", "constant", "cosine"),
        ("criterion", "prune__criterion", "l1_norm", "taylor"),
        ("epochs", "retrain__epochs", 10, 20),
        ("ratio", "prune__ratio", 0.5, 0.7),
        ("retrain.batch", "retrain__batch", 32, 64),
        ("rewind", "rewind", 2, 5),
    ],
)
def test_what_is_compared_may_differ_and_is_found_where_it_is_not_said(by, value, base, other):
    more = {"flops": (4000, 700)} if by == "ratio" else {}
    records = runs(**{value: base}) + runs(gains=GAIN, **{value: other}, **more)
    got = only(compare(records, by=by))
    assert (str(base) in got.base, str(other) in got.other) == (True, True)
    assert got.setup is Setup.S4_2
    if by != "retrain.batch":
        assert only(compare(records)).difference == got.difference


def test_where_a_part_of_a_setup_is_compared_the_setup_with_it_is_told_too():
    got = only(compare(runs(retrain__lr=0.1) + runs(retrain__lr=0.01), by="lr"))
    assert (got.setup, got.strict) == (Setup.S4_2, Setup.S3_1)


def test_namesakes_are_told_apart_by_their_options():
    chains = [["orthp", {"name": "spectrum", "strength": s}] for s in (0.5, 1.0)]
    methods = [{"name": "orthp", "gain": 2.0}, {"name": "orthp", "gain": 1.0}, "none", *chains]
    got = compare([r for m in methods for r in runs(m, GAIN, rewind=None)])
    assert list(dict.fromkeys(n for d in got.differences for n in (d.base, d.other))) == [
        "none", "orthp (gain=1)", "orthp (gain=2)", "orthp + spectrum (strength=0.5)",
        "orthp + spectrum (strength=1)"]  # fmt: skip


def test_distillation_is_a_method():
    got = only(compare(runs() + runs(gains=GAIN, retrain__distill={"weight": 0.5, "temperature": 4.0})))
    assert (got.base, got.other) == ("without distill", "temperature=4, weight=0.5")


def test_two_networks_are_two_settings_and_never_one_pair():
    records = [r for w in (64, 100) for m in ("none", "orthp") for r in runs(m, GAIN, model__width=w)]
    got = compare(records)
    assert [dict(d.where) for d in got.differences] == [{"model.width": "100"}, {"model.width": "64"}]


# The controls of TABLE: 30 epochs, 90 epochs.
@pytest.mark.parametrize(
    ("make", "setup"), [(scratch_e, Setup.SX_A), (lambda c: scratch_b(c, *FLOPS), Setup.SX_B)]
)
def test_a_control_is_compared_at_its_budget_with_every_retraining(make, setup):
    control = make(changed())
    records = [r for lr in (0.1, 0.01) for m in ("none", "orthp") for r in runs(m, GAIN, retrain__lr=lr)]
    got = compare(records + runs("scratch", retrain=control["retrain"]))
    pairs = {(d.base, d.other, d.where["retrain.lr"]): d.setup for d in got.differences}
    assert len(got.differences) == len(pairs) == 2 + 4
    assert all(
        found is (setup if other == "scratch" else Setup.S4_2) for (_, other, _), found in pairs.items()
    )
    assert not got.left_out


def test_a_budget_can_be_asked_for():
    moved = runs("orthp", GAIN, dense__epochs=10, retrain__epochs=20)
    assert only(compare(runs() + moved, require=Setup.SX_A)).setup is Setup.SX_A
    with pytest.raises(
        UnfairComparison, match=r"share setup S1, not SX-B: multiply-adds of all training is \d+"
    ):
        compare(runs() + moved, require=Setup.SX_B)
    with pytest.raises(
        UnfairComparison, match=r"share setup S1, not S3\.2: dense\.epochs is 20 and 10\. Start both"
    ):
        compare(runs() + moved)


def cross(first: list[float], second: list[float]) -> Any:
    records = [
        r for lr, gains in ((0.1, first), (0.01, second))
        for r in runs(retrain__lr=lr) + runs("orthp", gains, retrain__lr=lr)
    ]  # fmt: skip
    (found,) = compare(records).crosses
    return found


@pytest.mark.parametrize(
    ("second", "order"),
    [
        (GAIN, "same"),
        ([-g for g in GAIN], "turned"),
        ([0.01, -0.01, 0.002, 0.0], "open"),
        ([0.0] * 4, "open"),
    ],
)
def test_cross_checks_claim_only_what_is_shown(second, order):
    assert cross(GAIN, second).order == order


def test_what_is_refused_goes_through_at_the_setup_that_the_refusal_names():
    got = only(compare(runs() + runs("orthp", GAIN, retrain__lr=0.1), require=Setup.S3_1))
    assert (got.setup, dict(got.where)) == (Setup.S3_1, {"retrain.lr": "0.01 and 0.1"})


def test_one_unfair_setting_is_left_out_and_told_if_another_is_fair():
    got = compare(runs() + runs("orthp", GAIN) + runs("orthp", GAIN, retrain__lr=0.1))
    assert only(got).where == {"retrain.lr": "0.01"}
    assert got.left_out == (
        "orthp, retrain.lr = 0.1 (seeds 0, 1, 2, 3): no other method has been run at that setting.",
    )


def test_the_seeds_of_two_of_three_methods_do_not_stop_the_third():
    got = compare(runs(seeds=[0, 1]) + runs("orthp", GAIN) + runs("polar", GAIN, seeds=[2, 3]))
    assert {(d.base, d.other) for d in got.differences} == {("none", "orthp"), ("orthp", "polar")}
    assert got.left_out == ("none and polar have no seed in common: 0, 1 and 2, 3, so no pair can be made.",)


def test_values_are_found_by_where_a_record_has_them():
    got = only(compare(runs() + runs("orthp", GAIN), value="retrained.validation_accuracy"))
    assert got.difference.mean == pytest.approx(np.mean(GAIN))
    assert only(compare(runs() + runs("orthp", GAIN), value="jsv")).difference.mean == 0.0
