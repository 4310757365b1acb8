"""What is not compared, and with which words."""

from __future__ import annotations

from typing import Any

import pytest

from comparison.made import without
from comparison.test_compare import GAIN, runs
from isoprune.comparison import Setup, UnfairComparison, compare
from isoprune.types import IsopruneError

UNFAIR: dict[str, tuple[dict[str, Any], Setup, str]] = {
    "another rate": (
        {"retrain__lr": 0.1},
        Setup.S3_2,
        r"^none and orthp share setup S3\.1, not S3\.2: retrain\.lr is 0\.01 and 0\.1\. "
        r"Retrain orthp with none's recipe, or pass require=Setup\.S3_1\.$",
    ),
    "other epochs": (
        {"retrain__epochs": 20, "retrain__lr": 0.1},
        Setup.S3_2,
        r"share setup S2, not S3\.2: retrain\.epochs is 10 and 20\. .* pass require=Setup\.S2\.$",
    ),
    "another base": (
        {"dense__lr": 0.2},
        Setup.S2,
        r"share setup S1, not S2: dense\.lr is 0\.1 and 0\.2\. Start both from one dense network, or pass",
    ),
    "another data set": (
        {"data__name": "mnist"},
        Setup.S1,
        r"share no setup, not S1: data\.name is digits and mnist\. Compare on one data set and network\.$",
    ),
    "another network": (
        {"model__name": "lenet_5"},
        Setup.S1,
        r"model\.name is mlp_7 and lenet_5",
    ),
    "another size": (
        {"flops": (4000, 500)},
        Setup.S1,
        r"pruned\.flops is 1000 and 500\. Prune both to one size, by one prune\.ratio or",
    ),
    "another criterion too": (
        {"prune__criterion": "taylor"},
        Setup.S1,
        r"none and orthp never meet with all else equal: prune\.criterion\.name is l1_norm and taylor, so a "
        r"difference could be due to it\. Run both with one prune\.criterion\.name, or compare by criterion",
    ),
}


@pytest.mark.parametrize(("changes", "require", "message"), UNFAIR.values(), ids=UNFAIR)
def test_unfair(changes, require, message):
    with pytest.raises(UnfairComparison, match=message):
        compare(runs() + runs("orthp", GAIN, **changes), require=require, by="repair")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {},
            r"epochs of all training is 30 and 10\. Give scratch the budget of all the other's training \(",
        ),
        (
            {"retrain__epochs": 90, "retrain__weight_decay": 0.5},
            r"retrain\.weight_decay is 0\.0001 and 0\.5\. Train scratch as one of the other's trainings",
        ),
    ],
)
def test_scratch_without_the_budget_is_unfair(more, message):
    with pytest.raises(UnfairComparison, match=r"none and scratch share setup S1, not S3\.2: " + message):
        compare(runs() + runs("scratch", **more))


BAD = {
    "no records": ([], {}, r"None of 0 records is finished"),
    "foreign": ([{"accuracy": 1}], {}, r"record 1 of 1 is no record but a dict\. Give what isoprune run"),
    "not even a table": ([*runs(), None], {}, r"record 5 of 5 is no record but a NoneType"),
    "one method": (runs(), {}, r"All that can be compared .* is the same in all 4 runs"),
    "one repair": (runs(retrain__lr=0.1) + runs(), {"by": "repair"}, r"repair is the same in all 8 runs"),
    "no such family": (runs(), {"by": "repairs"}, r"unknown 'repairs'\. Did you mean 'repair'\?"),
    "by seed": (runs(), {"by": "seed"}, r"Runs are not compared by seed: it must be the same in both\."),
    "by data": (runs(), {"by": "data.name"}, r"Runs are not compared by data\.name"),
    "no such value": (runs(), {"value": "accuracy"}, r"None of 4 runs has accuracy\. Did you mean 'test_acc"),
    "measured only": (
        [without(one, "retrained") for one in runs()],
        {},
        r"None of 4 runs has test_accuracy\. They were not retrained: retrain them",
    ),
    "no such method": (
        runs() + runs("orthp"), {"without": ["polr"]}, r"No method 'polr' to leave.*Known: none, orthp"),
    "all left out": (runs() + runs("orthp"), {"without": ["orthp"]}, r"Only none is left to compare\."),
    "no seed in common": (
        runs(seeds=[0, 1]) + runs("orthp", seeds=[2, 3]), {},
        r"none and orthp have no seed in common: 0, 1 and 2, 3, .* Run both with the same seeds"),
}  # fmt: skip


@pytest.mark.parametrize(("records", "how", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_clear_line(records, how, message):
    with pytest.raises(IsopruneError, match=message) as error:
        compare(records, **how)
    assert "\n" not in str(error.value)
