"""Cells: seeds come together, labels tell apart what differs, and nothing else."""

from __future__ import annotations

import copy
import random

import pytest
from msgspec.structs import replace

from isoprune.comparison.records import IGNORED, flatten, runs_of, under
from isoprune.reporting.study import by_seed, make_cells
from isoprune.reporting.study_settings import setup
from isoprune.types import IsopruneError
from isoprune.types.record import Record
from reporting.records import jsv_vs_ratio, lr_effect, record


def test_cells_partition_the_records():
    records = lr_effect()
    cells = make_cells(records)
    assert len(cells) == 2 * 3 * 2
    digests = sorted(one.digest for cell in cells for one in cell.records)
    assert digests == sorted(one.digest for one in records)


def test_cells_do_not_depend_on_the_order_of_records_within_a_network():
    records = lr_effect()[:18]  # one network
    shuffled = random.Random(1).sample(records, len(records))
    assert make_cells(shuffled) == make_cells(records)


def test_a_record_given_twice_counts_once():
    records = lr_effect()
    assert make_cells([*records, *copy.deepcopy(records)]) == make_cells(records)


def test_reading_order_is_no_repair_repair_control_and_large_rates_first():
    cells = make_cells(lr_effect(1))[:6]
    assert [(cell.repair, cell.lr) for cell in cells] == [
        (repair, lr) for repair in ("no repair", "OrthP", "scratch") for lr in (1e-2, 1e-3)
    ]


def test_equal_names_with_other_options_are_told_apart_by_those_options():
    first, second = record(), record()
    second.config["model"]["width"] = 50
    assert [cell.network for cell in make_cells([first, second])] == [
        "mlp_7 linear (width 100)",
        "mlp_7 linear (width 50)",
    ]


def test_networks_on_two_data_sets_are_told_apart():
    cells = make_cells([record(), record(data="digits")])
    assert [cell.network for cell in cells] == ["mlp_7 linear (fashion_mnist)", "mlp_7 linear (digits)"]


def test_a_gain_that_follows_the_activation_is_no_second_repair():
    cells = make_cells([record(repair="orthp"), record(repair="orthp", activation="relu")])
    assert {cell.repair for cell in cells} == {"OrthP"}


def test_two_gains_on_one_network_are_two_repairs():
    first, second = record(repair="orthp"), record(repair="orthp")
    second.config["repair"]["gain"] = 1.5
    assert [cell.repair for cell in make_cells([first, second])] == ["OrthP (gain 1)", "OrthP (gain 1.5)"]


def test_other_settings_become_a_variant():
    cells = make_cells([record(), record(epochs=60)])
    assert [cell.extra for cell in cells] == ["epochs 30", "epochs 60"]


def test_learning_rates_of_runs_without_retraining_do_not_split_a_cell():
    cells = make_cells([record(seed=0, lr=1e-2, epochs=0), record(seed=1, lr=1e-3, epochs=0)])
    assert [(cell.lr, len(cell.records)) for cell in cells] == [(None, 2)]


def test_measurements_beside_retrained_runs_are_no_variant():
    cells = make_cells([record(), record(ratio=0.3, epochs=0)])
    assert [cell.extra for cell in cells] == ["", ""]


def test_a_choice_given_as_a_word_is_its_name():
    short, long = record(), record()
    short.config["repair"] = "none"
    short.config["prune"]["criterion"] = "l1_norm"
    assert flatten(short.config) == flatten(long.config)


def test_ratio_that_is_not_one_number_is_the_realised_one():
    one = record()
    one.config["prune"]["ratio"] = {"net.*": 0.5}
    assert make_cells([one])[0].ratio == 0.8


def test_stages_shared_by_cells_count_once_per_seed():
    cells = make_cells(lr_effect(3))[:6]
    dense = by_seed(cells, "dense.test_accuracy")
    assert sorted(dense) == [0, 1, 2]


def test_missing_numbers_are_not_there():
    one = record()
    one.network("dense").jsv["mean"] = None
    one.network("pruned").jsv["mean"] = float("nan")
    for column in ("dense.jsv.mean", "pruned.jsv.mean", "nowhere.jsv.mean", "status"):
        assert not runs_of([one]).numbers(column).count()
    assert by_seed(make_cells([one]), "dense.jsv.mean") == {}


def test_varied_names_exactly_the_axes_of_the_grid():
    assert set(runs_of(jsv_vs_ratio(2)).varied) == {
        "seed",
        "model.name",
        "model.activation",
        "prune.ratio",
        "repair.name",
        "repair.gain",
    }


def test_unfinished_records_are_left_out_and_none_finished_is_an_error():
    running = replace(record(seed=1), status="running")
    assert len(make_cells([record(), running])[0].records) == 1
    with pytest.raises(IsopruneError, match="None of 1 records is finished"):
        make_cells([running])
    with pytest.raises(IsopruneError, match="None of 0 records is finished"):
        make_cells([])


def distilled(weight: float = 0.9, **changes) -> Record:
    one = record(**changes)
    one.config["retrain"]["distill"] = {"weight": weight, "temperature": 4.0}
    return one


def test_distillation_is_named_even_where_all_runs_have_it():
    cells = make_cells([distilled(), distilled(repair="orthp")])
    assert {cell.extra for cell in cells} == {"with distillation"}


def test_distillation_is_named_beside_what_else_differs():
    cells = make_cells([record(), distilled(0.5, epochs=60), distilled(0.9, epochs=60)])
    assert {cell.extra for cell in cells} == {
        "epochs 30",
        "with distillation (weight 0.5), epochs 60",
        "with distillation (weight 0.9), epochs 60",
    }


def test_the_optimizer_is_named_where_it_differs_and_where_it_is_not_sgd():
    def by(optimizer: str) -> Record:
        one = record()
        one.config["retrain"]["optimizer"] = optimizer
        return replace(one, digest=optimizer)

    plain, other = make_cells([by("sgd")]), make_cells([by("adamw")])
    both = make_cells([by("sgd"), by("adamw")])
    assert {cell.extra for cell in both} == {"optimizer sgd", "optimizer adamw"}
    words, others = (dict(setup(cells))["Retrained"].split(", ") for cells in (plain, other))
    assert [word for word in others if word != "adamw"] == words
    assert len(others) == len(words) + 1
    assert "adamw and sgd" in dict(setup(both))["Retrained"]


def test_a_measurement_was_not_distilled():
    one = distilled(epochs=0)
    del one.config["retrain"]["distill"]  # what no step reads is not in the config
    assert [cell.extra for cell in make_cells([one])] == [""]


def test_how_a_run_was_watched_is_no_variant():
    watched = record(seed=1)
    watched.config["retrain"] |= {"trackers": ["tensorboard"], "checkpoint_steps": 9}
    watched.config["dense"] |= {"checkpoint_seconds": 5.0}
    cells = make_cells([record(), watched])
    assert [(cell.extra, len(cell.records)) for cell in cells] == [("", 2)]
    differing = runs_of([record(), watched]).varied
    assert [key for key in differing if not any(under(key, ignored) for ignored in IGNORED)] == ["seed"]
