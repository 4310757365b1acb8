"""What is no table: mixed data, networks or settings, unknown words; each in one line with the remedy."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from comparison.made import network_with, without
from isoprune.reporting.pivots import pivot
from isoprune.types.errors import IsopruneError
from reporting.pivots.made import SEEDS, grid, run


def refused(records, **asked) -> str:
    with pytest.raises(IsopruneError) as caught:
        pivot(records, **{"rows": "ratio", "columns": "repair,lr"} | asked)
    said = str(caught.value)
    assert "\n" not in said
    return said


def test_different_data_are_never_averaged_nor_set_side_by_side_unsaid():
    mixed = [*grid(), *grid(data__size=16)]
    said = refused(mixed)
    assert "different data sets: data.size is 8, 16" in said
    assert "--where data.size=" in said
    assert len(pivot(mixed, rows="data,ratio", columns="repair,lr").sides) == 4
    assert pivot(mixed, rows="ratio", columns="repair,lr", where={"data.size": "16"}).sides == (
        ("0.5",),
        ("0.9",),
    )


def test_different_networks_are_not_mixed_either():
    mixed = [*grid(), *grid(model__activation="linear")]
    assert "different networks: model.activation is linear, relu" in refused(mixed)
    assert len(pivot(mixed, rows="model,ratio", columns="repair,lr").sides) == 4


def test_runs_that_differ_in_more_than_the_seed_share_no_cell():
    said = refused(grid(), columns="repair")
    assert "are not equal: retrain.lr is 0.001, 0.01" in said
    assert "Put lr into --rows or --columns, or take one: --where retrain.lr=" in said


def test_what_is_set_in_one_run_of_a_cell_only_is_a_difference_too():
    taught = run(seed=1, retrain__distill={"weight": 0.5, "temperature": 2.0})
    said = refused([run(seed=0), taught], columns="repair")
    assert all(part in said for part in ("retrain.distill", "not set", "Put distill"))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"rows": ""}, "A table needs rows"),
        ({"rows": "ratios"}, "Did you mean 'ratio'?"),
        ({"columns": "retrain.lrs"}, "Did you mean 'retrain.lr'?"),
        ({"columns": "ratio"}, "'ratio' is given twice"),
        ({"value": "test_acuracy"}, "Did you mean 'test_accuracy'?"),
        ({"value": "dense.flop"}, "Did you mean 'dense.flops'?"),
        ({"value": "config.seed.x"}, "has a number"),
        ({"spread": "sd"}, "Did you mean 'std'?"),
        ({"where": {"ratio": "0.7"}}, "has ratio = 0.7. There is: 0.5, 0.9."),
        ({"where": {"rati": "0.7"}}, "Did you mean 'ratio'?"),
    ],
)
def test_a_word_that_is_none_is_named_with_the_right_one(asked, said):
    assert said in refused(grid(), **asked)


def test_a_value_of_another_role_is_pointed_to():
    records = [without(network_with(one, "pruned", jsv={"mean": 0.5}), "retrained") for one in grid()]
    assert "There is: pruned.jsv.mean." in refused(records, value="jsv")
    assert "dense.test_accuracy, pruned.test_accuracy" in refused(records)


def test_nothing_and_nothing_finished_are_no_table():
    records = [replace(run(seed=seed), status="failed") for seed in SEEDS]
    for given in ([], records):
        refused(given)
