"""Sentences: they say the setup, n, the interval, the corrected p, and what cannot be said."""

from __future__ import annotations

import json
import math

import pytest

from comparison.test_compare import GAIN, LUCK, runs
from isoprune.comparison import COLUMNS, as_dict, compare, rows, sentences


def said(records, **how) -> str:
    return sentences(compare(records, **how))[1]


def test_a_shown_difference_is_told_with_all_that_it_rests_on():
    text = said(runs() + runs("orthp", GAIN))
    d = compare(runs() + runs("orthp", GAIN)).differences[0]
    low, high = (f"{100 * end:+.2f}" for end in d.difference.interval)
    assert text == (
        f"orthp against none, setup S4.2: {100 * d.difference.mean:+.2f} points of test accuracy "
        f"after retraining (95 % interval {low} to {high}, paired t-test over n = 4, seeds 0, 1, 2, 3: "
        f"p = {d.p:.3f}). orthp is better."
    )


def test_the_worse_method_is_not_called_better():
    assert said(runs(gains=GAIN) + runs("orthp")).endswith("none is better.")


def test_what_is_not_shown_is_not_claimed():
    text = said(runs() + runs("orthp", [0.01, -0.012, 0.004, 0.0]))
    assert text.endswith("These seeds do not tell it from zero.")
    assert "better" not in text


def test_one_seed_says_what_it_cannot_say():
    text = said(runs(seeds=[1]) + runs("orthp", GAIN, seeds=[1]))
    assert (
        "(n = 1, seed 1; no interval and no p-value). One seed cannot tell the methods from its luck" in text
    )


def test_equal_differences_are_no_certainty():
    text = said(runs() + runs("orthp", [0.01] * 4))
    assert "the same difference in each; no interval and no p-value" in text
    assert text.endswith("nothing is claimed.")


def test_the_correction_is_told_and_decides():
    # p alone about 0.03; three like it are 0.09.
    gains = [0.0, 0.010, 0.008, 0.016]
    text = said(
        [
            r
            for m, g in (("none", [0.0] * 4), ("orthp", gains), ("polar", [-x for x in gains]))
            for r in runs(m, g)
        ]
    )
    assert "after Holm's correction for 3 tests)" in text
    alone = compare(runs() + runs("orthp", gains)).differences[0]
    together = compare(
        [
            r
            for m, g in (("none", [0.0] * 4), ("orthp", gains), ("polar", GAIN), ("lsuv", gains[::-1]))
            for r in runs(m, g)
        ]
    )
    assert alone.shown() == (alone.p < 0.05)
    for d, sentence in zip(together.differences, sentences(together)[1:], strict=False):
        assert d.shown() == ("better" in sentence)
        assert ("Alone it would" in sentence) == (d.p < 0.05 <= d.corrected)


def test_seeds_without_a_partner_are_in_the_sentence():
    text = said(runs() + runs("orthp", GAIN, seeds=[0, 2, 3]))
    assert text.endswith("Seed 1 of none has no partner.")


def test_a_compared_rate_is_no_hidden_difference():
    text = sentences(compare(runs(retrain__lr=0.1) + runs(retrain__lr=0.01), by="lr"))
    assert "setup S4.2 but for lr, which is compared (S3.1 with it)" in text[1]
    assert text[0].endswith("and all below it; but for lr, which is compared.")
    assert text[0].startswith(
        "Test accuracy after retraining compared by lr (data.name = digits, model.name = mlp_7"
    )


@pytest.mark.parametrize(
    ("sign", "verdict"), [(1, "the order is the same"), (-1, "the order turns with the retr")]
)
def test_cross_checks_are_told(sign, verdict):
    records = [
        r for lr, s in ((0.1, 1), (0.01, sign))
        for r in runs(retrain__lr=lr) + runs("orthp", [s * g for g in GAIN], retrain__lr=lr)
    ]  # fmt: skip
    (text,) = [t for t in sentences(compare(records)) if t.startswith("Cross-check of orthp and none")]
    assert verdict in text
    assert "retrain.lr = 0.1: orthp ahead" in text


def test_what_is_left_out_is_said():
    text = sentences(compare(runs() + runs("orthp", GAIN) + runs("polar"), without=["polar"]))
    assert text[-1] == "Left out: 4 runs of polar, as requested."


def test_rows_fit_the_columns_and_have_no_number_that_is_none():
    got = compare(runs(seeds=[0]) + runs("orthp", GAIN, seeds=[0]))
    (row,) = rows(got)
    assert len(row) == len(COLUMNS)
    assert row == ("orthp − none", "–", "S4.2", "1", "+1.00", "–", "–", "–")


def test_plain_data_is_json_without_nan_and_holds_every_seed():
    got = as_dict(compare(runs(seeds=[0]) + runs("orthp", GAIN, seeds=[0])))
    assert json.loads(json.dumps(got, allow_nan=False)) == got
    (d,) = got["differences"]
    assert d["seeds"] == {"0": {"base": LUCK[0], "other": LUCK[0] + GAIN[0]}}
    assert [d[key] for key in ("std", "low", "high", "p", "p_holm")] == [None] * 5
    many = as_dict(compare(runs() + runs("orthp", GAIN)))["differences"][0]
    assert many["low"] < many["mean"] < many["high"]
    assert math.isclose(many["mean"], sum(GAIN) / 4, rel_tol=1e-9)
