"""Sentences follow the numbers: change a number and the words change."""

from __future__ import annotations

import pytest

from isoprune.reporting import explain
from isoprune.reporting.sentences import best, gap
from isoprune.reporting.study import make_cells
from reporting.records import jsv_vs_ratio, lr_effect, record


def _study(accuracies, validation=None):
    """Records of one network from {(repair, lr): test accuracy per seed}; validation follows test."""
    made = []
    for (repair, lr), values in accuracies.items():
        for seed, accuracy in enumerate(values):
            one = record(seed=seed, repair=repair, lr=lr)
            one.network("retrained").metrics["test_accuracy"] = accuracy
            one.network("retrained").metrics["validation_accuracy"] = (validation or {}).get(
                (repair, lr), accuracy
            )
            made.append(one)
    return made


def _paper(orthp_small, orthp_large=(0.846, 0.847, 0.845)):
    return _study(
        {
            ("none", 1e-2): (0.8213, 0.822, 0.820),
            ("none", 1e-3): (0.787, 0.789, 0.785),
            ("orthp", 1e-2): orthp_large,
            ("orthp", 1e-3): orthp_small,
        }
    )


def test_the_paper_is_told_in_three_sentences():
    told = explain(_paper((0.845, 0.847, 0.843)))
    assert len(told) == 3
    assert told[0].startswith("When 80 % of the filters are removed by L1, the mean JSV of mlp_7 linear goes")
    assert told[1] == (
        "Retrained without repair, mlp_7 linear ends 3.4 points lower at LR 1e-3 than at 1e-2 "
        "(95 % interval 3.2 to 3.7, n = 3)."
    )
    # Gaps 0.1, 0.0, 0.2: mean 0.1, half width 4.303 * 0.1 / sqrt(3) = 0.248.
    assert "the gap of mlp_7 linear with OrthP is 0.1 points (95 % interval −0.1 to 0.3, n = 3)" in told[2]
    assert "level within 0.7 points, a fifth of what it was" in told[2]
    assert "at its best LR OrthP ends at 84.60 %, 2.5 points above no repair" in told[2]


@pytest.mark.parametrize(
    ("small", "words"),
    [
        ((0.826, 0.826, 0.826), "the effect is smaller, 2.0 of 3.4 points remain"),
        # Gaps 0.0, 1.6, −0.4: a mean of 0.4 that may be a third of what it was, or more.
        (
            (0.846, 0.832, 0.848),
            "the effect is smaller; whether any of it is left is open",
        ),
        ((0.812, 0.813, 0.811), "open: these seeds show no change"),
        ((0.866, 0.868, 0.865), "the effect is turned around, the smaller LR ends higher"),
        ((0.786, 0.787, 0.785), "the effect grows"),
    ],
)
def test_the_verdict_changes_with_the_gap(small, words):
    assert words in explain(_paper(small))[2]


def test_a_gap_within_the_noise_is_not_called_one():
    noisy = _study({("none", 1e-2): (0.82, 0.84, 0.80), ("none", 1e-3): (0.81, 0.80, 0.83)})
    told = explain(noisy)[1]
    assert "2.0 points" not in told
    assert "points apart at LR 1e-3 and 1e-2: open (" in told
    assert "lower" not in told


def test_one_seed_is_said_to_have_no_interval():
    told = explain(lr_effect(1, ("none", "orthp")))
    assert len(told) == 3
    assert "one seed, no interval" in told[1]
    assert "95 %" not in " ".join(told[1:])


def test_repair_that_does_not_help_is_told_so():
    relu = [one for one in lr_effect() if one.config["model"]["activation"] == "relu"]
    assert "points below no repair" in explain(relu)[2]


def test_the_best_rate_is_chosen_on_validation_and_never_on_test():
    validation = {("none", 1e-2): 0.9, ("none", 1e-3): 0.8}
    records = _study({("none", 1e-2): (0.70, 0.71), ("none", 1e-3): (0.75, 0.76)}, validation)
    chosen = best(make_cells(records))
    assert chosen is not None
    assert chosen.lr == 1e-2


def test_gap_is_between_the_extreme_rates():
    records = _study({("none", lr): (accuracy,) for lr, accuracy in ((0.1, 0.5), (0.01, 0.9), (0.001, 0.3))})
    found = gap(make_cells(records))
    assert found is not None
    difference, large, small = found
    assert (difference.mean, large, small) == (pytest.approx(0.2), 0.1, 0.001)


def test_nothing_is_said_of_what_was_not_measured():
    one = record(epochs=0)
    assert len(explain([one])) == 1
    one.network("pruned").jsv.clear()
    assert explain([one]) == []


def test_every_network_has_its_clause():
    told = explain(lr_effect())
    assert len(told) == 4
    for sentence in told:
        assert "mlp_7 linear" in sentence
        assert "mlp_7 relu" in sentence


def test_ratios_are_told_as_a_trend():
    (told,) = explain(jsv_vs_ratio())
    assert told.startswith("As the ratio rises, the mean JSV of mlp_7 linear goes from")
    assert "after OrthP is 1.00 at every ratio" in told


def test_jsv_that_rises_is_told_as_larger():
    one = record(epochs=0)
    one.network("dense").jsv["mean"], one.network("pruned").jsv["mean"] = 0.01, 0.5
    assert "(50 times larger)" in explain([one])[0]
    one.network("pruned").jsv["mean"] = 0.015
    assert "times" not in explain([one])[0]
