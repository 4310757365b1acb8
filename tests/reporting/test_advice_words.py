"""What advice says, each sentence against the numbers that it comes from."""

from __future__ import annotations

import math

import pytest

from isoprune.reporting import advice_words as words
from isoprune.types import IsopruneError
from reporting.advices import advice


def reasons(*accuracies, **changes):
    return "\n".join(words.reasons(advice(*accuracies, **changes)))


def test_the_line_to_copy():
    assert words.headline(advice()) == 'lr = 0.1, schedule = "one_cycle"'


def test_the_best_and_the_largest_within_the_tolerance():
    said = reasons()
    assert (
        "In probes of 45 steps (15 % of 300), each with the whole schedule, rate 0.03 ends highest, at "
        in said
    )
    assert "80.0 %; rate 0.1, at 79.5 %, is the largest within 1 point of that, and is advised" in said
    assert "Larger rates lose: 0.3 diverges." in said
    assert (
        "Smaller rates would need more epochs: in as many steps 0.003 ends at 40.0 % and 0.01 ends at 60.0 %."
        in (said)
    )


def test_the_best_itself():
    said = reasons(0.4, 0.6, 0.8, 0.7, None, lr=0.03)
    assert "ends highest, at 80.0 %, and no larger one comes within 1 point of it." in said
    assert "Larger rates lose: 0.1 ends at 70.0 % and 0.3 diverges." in said


def test_the_largest_probed_may_not_be_the_largest_there_is():
    said = reasons(0.4, 0.5, 0.6, 0.7, 0.8, lr=0.3)
    assert "It is the largest rate that was probed: a larger one may be as good (--rates " in said
    assert "(--rates 0.003,0.01,0.03,0.1,0.3,0.9)." in said
    assert "no larger one" not in said
    assert "Larger rates lose" not in said


def test_smaller_rates_that_are_as_good_are_said_to_be():
    said = reasons(0.8, 0.8, 0.8, 0.8, 0.1, lr=0.1)
    assert "Smaller rates are as good within the probe: 0.003 ends at 80.0 %" in said
    assert "more epochs" not in said
    assert "Smaller rates" not in reasons(0.8, 0.1, lr=0.003)


@pytest.mark.parametrize(("count", "full"), [(5, "5 full trainings"), (1, "one full training")])
def test_the_cost_is_the_steps_of_all_probes(count, full):
    said = reasons(*[0.5] * count, lr=0.003)
    assert (
        f"The probes cost {45 * count} steps, 15 % of the {f'{300 * count:,}'.replace(',', chr(0x202F))} "
        in said
    )
    assert f"of a grid of {full}. Before any step accuracy is 25.0 %." in said


def test_damage_is_told_with_its_number_or_why_it_is_not_known():
    assert (
        "Collapsed: the mean Jacobian singular value is 0.02 (measured on 64 training inputs)." in reasons()
    )
    said = reasons(damage={"verdict": None, "reason": "The forward is not deterministic."})
    assert "The damage is not known, because this network cannot be measured: The forward is not" in said


@pytest.mark.parametrize(
    ("verdict", "remedy"),
    [
        ("collapsed", "Repair the network first: isoprune diagnose tries all repairs on copies"),
        (None, "Repair the network first"),
        ("healthy", "Its Jacobian is healthy, so look at data and labels, or give more epochs."),
    ],
)
def test_where_nothing_is_learned_the_remedy_comes_first(verdict, remedy):
    damage = advice()["damage"] | {"verdict": verdict, "reason": "why"}
    record = advice(0.11, 0.1, 0.1, 0.11, None, learns=False, damage=damage)
    first = words.reasons(record)[0]
    assert first.startswith(
        "No rate learns anything within the probe: at the advised one it ends at 11.0 %, and "
    )
    assert "the most frequent class is 11.0 % of the samples. " in first
    assert remedy in first
    assert "would need more epochs" not in "".join(words.reasons(record))
    assert words.verdict(record).startswith("No rate learns anything within its probe: ")
    assert ("repair" in words.verdict(record)) == (verdict != "healthy")


def test_certainty_is_the_standard_error_of_a_frequency():
    assert words.standard_error(0.8, 400) == pytest.approx(0.02)
    assert words.standard_error(0.5, 100) == pytest.approx(0.05)
    first, once = words.doubts(advice())
    assert first.startswith(
        "Accuracies are of 400 held-out training samples: the standard error of 80.0 % is 2.0 "
    )
    assert once == "Each rate was probed once, with one seed for the order of the samples."


def test_rates_that_noise_alone_may_part_are_named():
    apart = 2 * math.sqrt(2) * 0.02  # 5.7 points
    near = words.doubts(advice(0.1, 0.8 - apart + 1e-6, 0.8, 0.1, None, lr=0.03))[0]
    assert "Of the rates 0.01 and 0.03 it cannot tell the best: they are less than 5.7 points apart" in near
    assert "cannot tell" not in words.doubts(advice(0.1, 0.8 - apart - 1e-6, 0.8, 0.1, None, lr=0.03))[0]


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_no_exception_among_few_samples_is_no_certainty(accuracy):
    said = words.doubts(advice(accuracy, lr=0.003, judge_samples=60))[0]
    assert f"{100 * accuracy:.1f} % of so many leaves up to 5.0 % of error (19 times of 20)." in said


def test_what_is_no_advice_is_refused():
    with pytest.raises(IsopruneError, match=r"not advice\. Make it: isoprune advise MODEL"):
        words.require_advice({"kind": "diagnosis"})
