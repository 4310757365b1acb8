"""Controls from scratch: their budget to the step, in exact integers, and their recipe."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comparison.made import FLOPS, TABLE, TRAIN, changed, record
from isoprune.comparison import Setup, scratch_b, scratch_e, setup_of, train_samples
from isoprune.experiment.config import experiment
from isoprune.experiment.resolve import resolve
from isoprune.experiment.signatures import schedule
from isoprune.types import IsopruneError
from isoprune.types.training_cost import samples_seen, training_work

POSITIVE = st.integers(1, 60)


def samples(config: dict[str, Any], stage: str, train: int) -> int:
    how = {"batch": 1, "steps": None, **config[stage]}  # of no epochs, a config says no more
    return samples_seen(train, batch=how["batch"], epochs=how["epochs"], steps=how["steps"])


def cost(config: dict[str, Any], stages: dict[str, int], train: int, *, teacher: int = 0) -> int:
    """Multiply-adds of the trainings, by the numbers that records hold."""
    return sum(
        training_work(
            samples(config, stage, train),
            flops=flops,
            teacher=teacher if stage == "retrain" and config["retrain"].get("distill") else 0,
            estimated=train if config[stage].get("average") else 0,
        )
        for stage, flops in stages.items()
    )


BUDGETS = st.fixed_dictionaries(
    {
        "dense__epochs": POSITIVE,
        "retrain__epochs": st.integers(0, 60),
        "dense__batch": st.integers(1, 130),
        "retrain__batch": st.integers(1, 130),
        "dense__steps": st.none() | st.integers(1, 500),
        "retrain__steps": st.none() | st.integers(1, 500),
        "dense__average": st.sampled_from([0.0, 0.2]),
        "retrain__average": st.sampled_from([0.0, 0.2]),
        "retrain__distill": st.none() | st.just({"weight": 0.5, "temperature": 4.0}),
    }
)


@settings(deadline=None)
@given(
    changes=BUDGETS,
    train=st.integers(50, 2000),
    small=st.integers(1, 10**7),
    more=st.integers(0, 10**8),
)
def test_scratch_b_takes_as_many_multiply_adds_to_within_a_step(changes, train, small, more):
    large, pruned = small + more, changed(**changes)
    made = scratch_b(pruned, large, small, train=train)
    want = cost(pruned, {"dense": large, "retrain": small}, train, teacher=large)
    got = cost(made, {"retrain": small}, train)
    assert abs(got - want) <= 3 * small * made["retrain"]["batch"]


@settings(deadline=None)
@given(changes=BUDGETS, train=st.integers(50, 2000))
def test_scratch_e_takes_as_many_epochs_to_within_a_step(changes, train):
    pruned = changed(**changes)
    made = scratch_e(pruned, train=train)
    want = samples(pruned, "dense", train) + samples(pruned, "retrain", train)
    assert abs(samples(made, "retrain", train) - want) <= made["retrain"]["batch"]


def test_in_whole_epochs_the_budget_is_the_published_formula():
    K1, K2, F1, F2 = 20, 10, 4000, 1000
    assert scratch_e(changed())["retrain"]["epochs"] == K1 + K2
    made = scratch_b(changed(), F1, F2)["retrain"]
    assert Fraction(made["epochs"]) == Fraction(K1 * F1, F2) + K2
    assert made["steps"] is None


def test_nothing_pruned_makes_both_controls_one():
    assert scratch_b(changed(), 7, 7) == scratch_e(changed())


@pytest.mark.parametrize("make", [lambda c: scratch_e(c), lambda c: scratch_b(c, *FLOPS)], ids=["E", "B"])
def test_a_control_is_an_experiment_of_the_setup_it_is_named_for(make):
    made = make(changed(rewind=3, retrain__batch=50, retrain__weight_decay=0.5))
    assert experiment(made).as_dict() == made
    own = {key: value for key, value in made["retrain"].items() if key not in ("epochs", "steps", "schedule")}
    assert own == {key: made["dense"][key] for key in own}
    assert (made["repair"], made["rewind"]) == ({"name": "scratch"}, None)
    assert made["dense"] == changed()["dense"]


@pytest.mark.parametrize(
    ("flops", "budget"), [((4000, 1000), {}), ((4000, 999), {}), ((977, 313), {"steps": 37})]
)
def test_records_of_run_and_control_share_sx_b(flops, budget):
    how = {f"retrain__{key}": value for key, value in budget.items()}
    pruned = record(flops=flops, **how)
    assert train_samples(pruned) == TRAIN
    control = scratch_b(pruned.config, *flops, train=train_samples(pruned))
    scratch = record(flops=flops, repair="scratch", retrain=control["retrain"])
    assert setup_of(pruned, scratch).setup is Setup.SX_B
    control = scratch_e(pruned.config, train=TRAIN)
    scratch = record(flops=flops, repair="scratch", retrain=control["retrain"])
    assert setup_of(pruned, scratch).setup is Setup.SX_A


SCHEDULES = [
    "constant",
    {"name": "step_decay", "milestones": [10, 15], "gamma": 0.1},
    {"name": "step_decay", "milestones": [0.5, 0.75]},
    {"name": "sgdr", "T_0": 5},
    {"name": "cyclical", "step_size": 2},
    {"name": "cosine"},
    {"name": "warm_up", "rise": 4, "schedule": {"name": "step_decay", "milestones": [8, 12]}},
    {
        "name": "warm_up",
        "rise": 4,
        "over": "whole",
        "schedule": {"name": "step_decay", "milestones": [8, 12]},
    },
]


@pytest.mark.parametrize("how", SCHEDULES, ids=str)
@pytest.mark.parametrize("ratio", [4, 7])
def test_the_dense_schedule_is_stretched_over_the_longer_run(how, ratio):
    """At the same part of the run, the same factor; the source's own code lost its steps here."""
    pruned = experiment(TABLE | {"dense": {**TABLE["dense"], "schedule": how}}).as_dict()
    made = resolve(experiment(scratch_b(pruned, 100 * ratio, 100)))
    dense, control = schedule(resolve(experiment(pruned)).dense), schedule(made.retrain)
    assert made.retrain.epochs == 20 * ratio + 10
    # Not at the drops themselves, where a rounded quotient may fall to either side.
    for progress in (0.01, 0.111, 0.26, 0.371, 0.487, 0.513, 0.63, 0.74, 0.77, 0.91, 0.99):
        assert control(progress) == pytest.approx(dense(progress), rel=1e-9)


REFUSED = {
    "sizes the wrong way round": (
        lambda: scratch_b(changed(), 1000, 4000),
        r"flops_dense is 1000 and flops_pruned 4000\. Give the multiply-adds of a sample, dense\.flops",
    ),
    "nothing left": (lambda: scratch_b(changed(), 1000, 0), r"flops_pruned 0\. Give the multiply-adds"),
    "a part of an epoch": (
        lambda: scratch_b(changed(), 1000, 333),
        r"The budget is 70\.06 epochs, which is no whole number\. Give train, the size of the training split",
    ),
    "steps": (
        lambda: scratch_e(changed(retrain__steps=5)),
        r"retrain\.steps cuts an epoch\. Give train, the size",
    ),
    "scratch": (
        lambda: scratch_e(changed(repair="scratch")),
        r"from scratch already, so it has no control\. Give the config of a pruned one",
    ),
    "scratch in a chain": (lambda: scratch_e(changed(repair=["scratch", "orthp"])), r"from scratch already"),
    "a network trained elsewhere": (
        lambda: scratch_e(changed(dense={"epochs": 0})),
        r"dense\.epochs is 0: how long .* Train it in the experiment, or write retrain\.epochs",
    ),
    "an advised rate": (
        lambda: scratch_e(changed(dense__lr="auto")),
        r'dense\.lr is "auto": .* Write the rate that was advised',
    ),
    "a record that does not say": (
        lambda: train_samples(record(dense={"epochs": 0}, retrain__steps=5)),
        r"does not say how many samples make an epoch.*Give train, the size",
    ),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(call, message):
    with pytest.raises(IsopruneError, match=message):
        call()
