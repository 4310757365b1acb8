"""Grades of records: sizes that came out, bases that are not the same bits, and the budgets of scratch."""

from __future__ import annotations

import pytest
from msgspec import structs

from comparison.made import FLOPS, TRAIN, changed, network_with, record
from isoprune.comparison import Setup, setup_of
from isoprune.types import IsopruneError
from isoprune.types.record import Record, TrainingCost

SCRATCH = {"repair": "scratch"}


@pytest.mark.parametrize(("flops", "setup"), [(1000, Setup.S4_2), (1009, Setup.S4_2), (1020, None)])
def test_the_sizes_that_came_out_are_the_compression(flops, setup):
    got = setup_of(record(), record(flops=(4000, flops), prune__allocation="global"))
    assert got.setup is setup
    if setup is None:
        assert (got.key, got.values) == ("pruned.flops", (1000, flops))


def test_the_same_speed_up_will_do_without_the_same_compression():
    a, b = record(), record(prune__scope="internal")
    b = network_with(b, "pruned", nonzero=2000)
    assert setup_of(a, b).setup is Setup.S4_2


def test_equal_recipes_that_made_two_networks_have_no_base_in_common():
    """As on two machines: the record tells."""
    a, b = record(), record(repair="orthp")
    b.networks[0].metrics["validation_accuracy"] += 1e-4
    got = setup_of(a, b)
    assert (got.setup, got.key) == (Setup.S1, "dense.validation_accuracy")


def test_an_advised_rate_is_the_rate_that_was_trained_at():
    a, b = record(retrain__lr="auto"), record(retrain__lr="auto", repair="orthp")
    assert setup_of(a, b).setup is Setup.S4_2
    a = network_with(a, "retrained", advice={"lr": 0.03})
    b = network_with(b, "retrained", advice={"lr": 0.01})
    got = setup_of(a, b)
    assert (got.setup, got.key, got.values) == (Setup.S3_1, "retrain.lr", (0.03, 0.01))


def scratch(epochs: int, **more: object) -> Record:
    return record(**SCRATCH, retrain__epochs=epochs, **more)


@pytest.mark.parametrize(
    ("epochs", "setup", "key", "values"),
    [
        (10, Setup.S1, "epochs of all training", (30, 10)),
        # 20 + 10 epochs, and 20 * 4000 / 1000 + 10.
        (30, Setup.SX_A, "multiply-adds of all training", (3 * TRAIN * 90_000, 3 * TRAIN * 30_000)),
        (90, Setup.SX_B, "", (None, None)),
    ],
)
def test_scratch_against_pruned_is_a_matter_of_the_budget(epochs, setup, key, values):
    got = setup_of(record(), scratch(epochs))
    assert (got.setup, got.key, got.values) == (setup, key, values)
    assert got.meets(Setup.S3_2) == (setup >= Setup.SX_A)
    assert got.meets(Setup.S1)


def test_within_one_step_a_budget_is_the_same_and_beyond_it_is_not():
    steps = 90 * 10  # of 100 samples, the last of each epoch of 50
    assert setup_of(record(), scratch(91, retrain__steps=steps + 1)).setup is Setup.SX_B
    assert setup_of(record(), scratch(91, retrain__steps=steps + 2)).setup is Setup.S1


@pytest.mark.parametrize(("more", "setup"), [(4, Setup.SX_B), (5, Setup.S1)])
def test_where_dense_training_was_cut_to_steps_one_of_those_is_the_grain(more, setup):
    """A dense step of 100 samples costs four of scratch at a quarter of the multiply-adds."""
    cut = record(dense__steps=200)
    assert setup_of(cut, scratch(91, retrain__steps=900 + more)).setup is setup


def test_scratch_must_not_step_unlike_both_trainings_of_the_other():
    got = setup_of(record(), scratch(90, retrain__weight_decay=0.01))
    assert (got.setup, got.key, got.values) == (Setup.S1, "retrain.weight_decay", (1e-4, 0.01))
    # One of the two is enough, and rates and schedules must fit the budget.
    assert (
        setup_of(record(dense__weight_decay=0.01), scratch(90, retrain__weight_decay=0.01)).setup
        is Setup.SX_B
    )
    assert setup_of(record(), scratch(90, retrain__lr=0.3, retrain__schedule="cosine")).setup is Setup.SX_B


def test_a_teacher_belongs_to_the_budget_of_scratch():
    """Who learns from the dense network has not given it up."""
    taught = {"retrain__distill": {"weight": 0.5, "temperature": 2.0}}
    assert setup_of(record(), scratch(30, **taught)).setup is Setup.S1
    assert setup_of(record(), scratch(10, **taught)).setup is Setup.SX_A


def test_of_configs_multiply_adds_are_not_known_and_epochs_may_not_be():
    got = setup_of(changed(), changed(**SCRATCH, retrain__epochs=30))
    assert (got.setup, got.key) == (Setup.SX_A, "multiply-adds of all training")
    assert got.values == ("not known", "not known")
    cut = setup_of(changed(), changed(**SCRATCH, retrain__epochs=30, retrain__steps=5))
    assert (cut.setup, cut.values) == (Setup.S1, (30, "not known"))


@pytest.mark.parametrize("model", [{"model__weights": "mine.pth"}, {"model__name": "torchvision:resnet18"}])
def test_how_long_a_network_was_trained_elsewhere_nobody_knows(model):
    elsewhere = {"dense": {"epochs": 0}, **model}
    got = setup_of(record(**elsewhere), scratch(10, **elsewhere))
    assert (got.setup, got.key, got.values) == (Setup.S1, "epochs of all training", ("not known", 10))
    assert setup_of(record(dense={"epochs": 0}), scratch(10, dense={"epochs": 0})).setup is Setup.SX_B


def test_pairs_of_the_ladder_share_budgets_too():
    same = setup_of(record(), record(repair="orthp"))
    assert (same.setup, same.shared) == (Setup.S4_2, frozenset(Setup))
    # P20F10 against P10F20: other bases, the same epochs.
    moved = setup_of(record(), record(dense__epochs=10, retrain__epochs=20))
    assert (moved.setup, moved.shared) == (Setup.S1, {Setup.S1, Setup.SX_A})
    assert moved.meets(Setup.SX_A)
    assert not moved.meets(Setup.SX_B)
    assert not moved.meets(Setup.S2)


@pytest.mark.parametrize(
    "nothing", [{}, {"config": None}, {"config": {"data": "digits"}}, {"data": "digits"}]
)
def test_what_is_neither_a_record_nor_a_config_is_refused(nothing):
    with pytest.raises(
        IsopruneError, match=r"must be records, or configs with data, model, prune and retrain\. Give"
    ):
        setup_of(changed(), nothing)


def polished(samples: int, **more: object) -> Record:
    """A run whose repair trained on so many samples, each at 3 forwards of its own and one of the dense."""
    made = record(repair="polish", **more)
    network = structs.replace(made.networks[1], role="repaired", step=2, digest="repaired")
    network = structs.replace(network, training=TrainingCost(samples, samples * (3 * FLOPS[1] + FLOPS[0])))
    return structs.replace(made, networks=[*made.networks[:2], network, *made.networks[2:]])


def test_samples_of_a_repair_that_trains_are_samples_of_retraining():
    """The same epochs of retraining are not the same length if one was polished before."""
    got = setup_of(record(), polished(TRAIN))
    assert (got.setup, got.key) == (Setup.S2, "samples of repair and retraining")
    assert got.values == (10 * TRAIN, 11 * TRAIN)
    assert setup_of(record(), polished(TRAIN), compared=("repair",)).setup is Setup.S2


@pytest.mark.parametrize(("off", "setup"), [(0, Setup.S4_2), (100, Setup.S4_2), (101, Setup.S2)])
def test_polishing_and_a_shorter_retraining_are_as_long_to_one_step(off, setup):
    shorter = polished(TRAIN + off, retrain__epochs=9)
    assert setup_of(record(), shorter).setup is setup


def test_multiply_adds_of_polishing_count_against_scratch():
    """9 epochs of it cost as much as 21: 7 forwards of the small network a sample instead of 3."""
    got = setup_of(polished(9 * TRAIN), scratch(111))
    assert Setup.SX_B in got.shared
    assert setup_of(polished(9 * TRAIN), scratch(90)).setup is Setup.S1


def test_configs_alone_know_only_whether_they_polish_alike():
    """As resolved ones have it: a repair that trains says how much."""
    long, short = ({"name": "polish", "train_samples": n} for n in (1000, 100))
    a, b = changed(repair=long), changed(repair=short)
    assert setup_of(a, a).setup is Setup.S4_2
    for other in (b, changed(), changed(repair=["reconstruct", long])):
        got = setup_of(a, other)
        assert (got.setup, got.key) == (Setup.S2, "samples of repair and retraining")
    assert setup_of(changed(repair={"name": "auto", "retrain_budget": None}), changed()).setup is Setup.S4_2
    budget = changed(repair={"name": "auto", "retrain_budget": 0})
    assert setup_of(budget, changed(repair="auto")).setup is Setup.S2
