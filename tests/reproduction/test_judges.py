"""Verdicts: what is confirmed, what is not, and what these seeds cannot tell."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec import structs
from scipy import stats

from isoprune.reproduction import find
from isoprune.reproduction.claims import (
    CONFIRMED,
    NOT_CONFIRMED,
    NOT_TESTABLE,
    TEST_ACCURACY,
    Place,
    Published,
    Value,
)
from isoprune.reproduction.judges import above, exact, paired, within
from isoprune.types.record import Record
from reproduction.made import cells, network, record, reproduction

UP = {"b": [0.81, 0.82, 0.84, 0.83], "a": [0.70, 0.72, 0.73, 0.71]}
NOISE = {"b": [0.71, 0.75, 0.70, 0.74], "a": [0.74, 0.71, 0.73, 0.72]}


def published(b: float, a: float, *, comparable: bool = True) -> Published:
    return Published("t", "s", ("0.9",), {"b": (b,), "a": (a,)}, comparable)


def test_a_difference_is_the_paired_t_test_and_its_interval():
    (test,) = paired(reproduction(), cells(UP), [("b", "a")])
    differences = 100 * (np.array(UP["b"]) - np.array(UP["a"]))
    want = stats.ttest_1samp(differences, 0.0)
    assert test.mean == pytest.approx(differences.mean())
    assert (test.low, test.high) == pytest.approx(tuple(want.confidence_interval(0.95)))
    assert test.p == pytest.approx(want.pvalue)


def test_p_values_are_corrected_for_the_settings_of_the_claim():
    both = {**cells(UP, ratio=0.9), **cells(NOISE, ratio=0.5)}
    corrected = {t.column: (t.p, t.corrected) for t in paired(reproduction(), both, [("b", "a")])}
    p, holm = corrected["0.9"]
    assert holm == pytest.approx(2 * p)  # the smaller of two, by Holm
    p, holm = corrected["0.5"]
    assert holm == pytest.approx(p)


def test_seeds_without_a_partner_do_not_count():
    lonely = {"b": UP["b"], "a": UP["a"][:3]}
    (test,) = paired(reproduction(), cells(lonely), [("b", "a")])
    assert test.n == 3


def test_shown_in_every_setting_is_confirmed():
    assert above(("b", "a"))(reproduction(), cells(UP)).word == CONFIRMED


def test_shown_the_other_way_round_is_not_confirmed():
    verdict = above(("a", "b"))(reproduction(), cells(UP))
    assert (verdict.word, "other way round" in verdict.because) == (NOT_CONFIRMED, True)


def test_one_setting_the_other_way_round_outweighs_many():
    mixed = {**cells(UP, ratio=0.9), **cells({"a": UP["b"], "b": UP["a"]}, ratio=0.5)}
    assert above(("b", "a"))(reproduction(), mixed).word == NOT_CONFIRMED


def test_noise_is_not_testable_where_it_holds_what_was_published():
    judge = above(("b", "a"))
    assert judge(reproduction(published=published(72.5, 72.0)), cells(NOISE)).word == NOT_TESTABLE
    assert judge(reproduction(), cells(NOISE)).word == NOT_TESTABLE


def test_noise_that_ends_below_the_published_difference_is_not_confirmed():
    verdict = above(("b", "a"))(reproduction(published=published(90.0, 60.0)), cells(NOISE))
    assert verdict.word == NOT_CONFIRMED
    assert "ends below the published difference" in verdict.because
    # Above what was published is no contradiction of "above".
    less = above(("b", "a"))(reproduction(published=published(60.0, 90.0)), cells(NOISE))
    assert less.word == NOT_TESTABLE


def test_a_table_of_another_network_is_no_measure():
    far = reproduction(published=published(90.0, 60.0, comparable=False))
    assert above(("b", "a"))(far, cells(NOISE)).word == NOT_TESTABLE


@pytest.mark.parametrize("judge", [above(("b", "a")), within(("b", "a"), margin=1.0)])
def test_one_seed_and_no_run_are_not_testable_and_say_so(judge):
    one = cells({"b": [0.8], "a": [0.7]})
    assert judge(reproduction(), one).word == NOT_TESTABLE
    assert "one seed has no interval" in judge(reproduction(), one).because
    assert "no finished runs" in judge(reproduction(), {}).because


LEVEL = {"b": [0.801, 0.800, 0.799, 0.800], "a": [0.800, 0.801, 0.800, 0.799]}


def test_level_is_an_interval_within_the_margin():
    assert within(("b", "a"), margin=1.0)(reproduction(), cells(LEVEL)).word == CONFIRMED
    assert within(("b", "a"), margin=1.0)(reproduction(), cells(UP)).word == NOT_CONFIRMED
    # These intervals reach over the margin and do not lie beyond it.
    assert within(("b", "a"), margin=1.0)(reproduction(), cells(NOISE)).word == NOT_TESTABLE


def test_not_below_lets_the_first_be_as_high_as_it_likes():
    judge = within(("b", "a"), margin=1.0, below_only=True)
    assert judge(reproduction(), cells(UP)).word == CONFIRMED
    assert judge(reproduction(), cells({"b": UP["a"], "a": UP["b"]})).word == NOT_CONFIRMED


JSV = Value("mean JSV", "retrained.jsv.mean", percent=False, log=True)


def test_ratios_are_compared_by_their_logarithm():
    ten = {"b": [1.0, 10.0, 0.1], "a": [0.1, 1.0, 0.009]}
    (test,) = paired(reproduction(), cells(ten), [("b", "a")], value=JSV)
    assert test.mean == pytest.approx(np.log10([10, 10, 0.1 / 0.009]).mean())


@pytest.mark.parametrize("judge", [above(("b", "a"), value=JSV), within(("b", "a"), margin=1.0, value=JSV)])
def test_a_zero_among_what_is_compared_by_ratios_is_told_and_decides_nothing(judge):
    dead = cells({"b": [1.0, 1.1, 0.9, 1.0], "a": [0.1, 0.1, 0.12, 0.0]})
    verdict = judge(reproduction(), dead)
    assert verdict.word == NOT_TESTABLE
    assert "is zero where values are compared by ratios" in verdict.because


def test_a_fall_to_zero_has_no_factor():
    study = find("jsv-vs-ratio")
    ends = {Place("mlp_7 linear", "L1", column): {} for column in ("0", "0.9")}
    for place, means in zip(ends, ([2.0, 2.2, 2.1], [1e-4, 2e-4, 0.0]), strict=True):
        for seed, mean in enumerate(means):
            ends[place][seed] = Record(digest="d", name="n", config={}, networks=[network("repaired", mean)])
    judge = study.claims[1].judge
    assert "is zero" in judge(study, ends).because
    ends[Place("mlp_7 linear", "L1", "0.9")].pop(2)
    assert "times smaller" in judge(study, ends).because


@pytest.mark.parametrize(
    "jsv", [{"mean": 1.0}, {"std": 0.0}, {"mean": None, "std": 0.0}, {"mean": 1.0, "std": None}]
)
def test_isometry_is_not_confirmed_by_numbers_that_are_missing(jsv):
    whole = [network("repaired", 1.0), structs.replace(network("repaired", 1.0), jsv=jsv)]
    whole[0].jsv["std"] = 0.0
    place = Place("mlp_7 linear", "L1 + OrthP", "0.9")
    runs = [Record(digest="d", name="n", config={}, networks=[one]) for one in whole]
    assert exact(reproduction(), {place: {0: runs[0]}}).word == CONFIRMED
    for order in (runs, runs[::-1]):
        assert exact(reproduction(), {place: dict(enumerate(order))}).word == NOT_TESTABLE


@pytest.mark.parametrize("judge", [above(("b", "a")), within(("b", "a"), margin=50.0)])
def test_the_same_difference_in_every_seed_decides_nothing(judge):
    verdict = judge(reproduction(), cells({"b": [0.75, 0.75, 0.75], "a": [0.5, 0.5, 0.5]}))
    assert verdict.word == NOT_TESTABLE


def test_two_columns_of_one_row_are_compared():
    found = {**cells({"a": UP["a"]}, ratio=0.5), **cells({"a": UP["b"]}, ratio=0.9)}
    (test,) = paired(reproduction(), found, [(("a", "0.9"), ("a", "0.5"))])
    assert (test.first, test.second, test.column) == ("a, 0.9", "a, 0.5", "")
    assert test.mean > 0


def test_the_setup_is_what_the_pair_shares_at_least():
    same = reproduction().cells([record(0.8, repair="b"), record(0.7, repair="a")])
    (test,) = paired(reproduction(), same, [("b", "a")])
    assert test.setup == "S4.2"
    rates = reproduction().cells([record(0.8, repair="b", lr=0.1), record(0.7, repair="a", lr=0.01)])
    (test,) = paired(reproduction(), rates, [("b", "a")])
    assert test.setup == "S3.1"


def test_the_value_of_a_record_without_it_is_not_a_number():
    assert np.isnan(TEST_ACCURACY.of(Record(digest="d", name="n", config={})))


def test_a_setting_of_one_seed_does_not_keep_the_others_from_being_told():
    shown = {"a": [0.80, 0.82, 0.81], "b": [0.60, 0.63, 0.61]}
    found = {**cells(shown), **cells({"a": [0.9], "b": [0.1]}, ratio=0.5)}
    told = above(("a", "b"))(reproduction(), found)
    assert told.word == NOT_TESTABLE
    assert told.because.startswith("shown in 1 of 2 settings")
    assert "too few seeds to tell: 0.5" in told.because
    turned = above(("b", "a"))(reproduction(), found)
    assert turned.word == NOT_CONFIRMED
    assert "the other way round: 0.9" in turned.because
