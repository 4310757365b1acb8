"""What a table holds: the right runs in the right cells, mean and spread, what a reader must know."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from msgspec.structs import replace

from comparison.made import without
from isoprune.reporting.pivots import pivot
from reporting.pivots.made import ACCURACY, SEEDS, accuracy, grid, run


def test_a_cell_is_the_mean_over_the_seeds_of_its_runs():
    table = pivot(grid(), rows="ratio", columns="repair,lr")
    assert table.sides == (("0.5",), ("0.9",))
    assert table.heads == (("none", "0.001"), ("none", "0.01"), ("orthp", "0.001"), ("orthp", "0.01"))
    for repair, lr in ACCURACY:
        for ratio in (0.5, 0.9):
            own = [accuracy(repair, lr, ratio, seed) for seed in SEEDS]
            found = table.summary((f"{ratio:g}",), (repair, f"{lr:g}"))
            assert found.n == 3
            assert found.mean == pytest.approx(statistics.fmean(own), abs=1e-12)
            assert found.std == pytest.approx(statistics.stdev(own), abs=1e-12)
    assert table.common["data"] == "digits"
    assert table.notes == ("test_accuracy in percent, mean ± standard deviation over 3 seeds (0, 1, 2).",)


def test_the_order_of_the_records_changes_nothing():
    shuffled = grid()
    random.Random(0).shuffle(shuffled)
    asked = {"rows": "repair", "columns": "lr,ratio"}
    assert pivot(shuffled, **asked).table() == pivot(grid(), **asked).table()


def test_rows_alone_make_one_column():
    table = pivot(grid(), rows=["repair", "lr", "ratio"])
    assert table.heads == ((),)
    assert len(table.sides) == 8
    assert table.written(("orthp", "0.001", "0.9"), ()) == ("55.00", "1.00")


@pytest.mark.parametrize(("spread", "width"), [("std", "1.00"), ("interval", "2.48"), ("none", "")])
def test_the_spread_is_the_one_asked_for(spread, width):
    """Of 79, 80 and 81 %: standard deviation 1; Student's t of two degrees is 4.303, by sqrt(3) 2.484."""
    table = pivot(grid(), rows="repair,lr", columns="ratio", spread=spread)
    assert table.written(("none", "0.01"), ("0.5",)) == ("80.00", width)


def test_only_the_runs_asked_for():
    table = pivot(grid(), rows="repair", where={"ratio": "0.50", "lr": "1e-2"})
    assert table.written(("none",), ())[0] == "80.00"
    assert sum("left out" in note for note in table.notes) == 2
    both = pivot(grid(), rows="repair", columns="ratio", where={"ratio": "0.5,0.9", "lr": ".01"})
    assert len(both.heads) == 2


def test_any_number_of_a_record_can_be_told():
    table = pivot(grid(), rows="repair", columns="ratio", value="dense.flops", where={"lr": "0.01"})
    assert table.written(("none",), ("0.5",)) == ("4000", "0")
    assert not table.percent
    dense = pivot(grid(), rows="repair", columns="ratio", value="dense.test_accuracy", where={"lr": "0.01"})
    assert dense.percent


def test_what_is_not_finished_or_has_no_value_is_left_out_and_counted():
    records = grid()
    records[0] = replace(records[0], status="failed")
    records[1] = without(records[1], "retrained")
    table = pivot(records, rows="repair,lr", columns="ratio")
    assert "1 run left out: not finished." in table.notes
    assert "1 run left out: without test_accuracy." in table.notes
    assert any(note.startswith("Seeds are missing (orthp, 0.001, 0.9: 1, 2)") for note in table.notes)
    told = dict(zip(("repair", "lr", *(h[0] for h in table.heads)), range(9), strict=False))
    line = next(line for line in table.table().rows if line[:2] == ("orthp", "0.001"))
    assert line[told["0.9"]] == "54.00 (n = 1)"


def test_an_empty_cell_is_told():
    table = pivot(
        [*grid(), run(ratio=0.5, seed=0, lr=0.01, repair="none")][3:], rows="repair,lr", columns="ratio"
    )
    assert "1 cell without a run." in table.notes
    assert table.written(("orthp", "0.001"), ("0.9",)) == ("–", "")


def test_one_seed_has_no_spread_and_the_note_says_so():
    table = pivot([r for r in grid() if r.config["seed"] == 1], rows="repair,lr", columns="ratio")
    assert table.written(("none", "0.01"), ("0.5",)) == ("80.00", "")
    assert math.isnan(table.summary(("none", "0.01"), ("0.5",)).std)
    assert "One seed in each cell" in table.notes[0]


def test_a_run_that_is_there_twice_counts_once():
    table = pivot([*grid(), run(seed=0)], rows="repair,lr", columns="ratio")
    assert table.summary(("none", "0.01"), ("0.5",)).n == 3
    assert "1 run left out: of a cell and seed that is there already." in table.notes


def test_what_differs_between_cells_off_the_axes_is_told():
    longer = [run("orthp", seed=seed, retrain__epochs=20) for seed in SEEDS]
    table = pivot([*(run(seed=seed) for seed in SEEDS), *longer], rows="repair")
    assert "Not equal in all cells: retrain.epochs: 10, 20." in table.notes


def test_what_changes_no_result_makes_no_difference():
    table = pivot([run(seed=0), run(seed=1, retrain__jsv_samples=7)], rows="repair")
    assert table.summary(("none",), ()).n == 2
    assert not any("Not equal" in note for note in table.notes)


def test_the_options_of_methods_tell_namesakes_apart():
    mild = [run(seed=s) for s in SEEDS]
    for record in mild:
        record.config["repair"] = {"name": "polar", "gain": 1.0}
    strong = [run(seed=s) for s in SEEDS]
    for record in strong:
        record.config["repair"] = {"name": "polar", "gain": 2.0}
    assert pivot([*mild, *strong], rows="repair").sides == (("polar (gain=1)",), ("polar (gain=2)",))


def test_pruned_by_training_and_in_one_shot_stand_in_one_table():
    how = {"epochs": 15, "lr": 0.01, "batch": 100}
    trained = [run(seed=seed) for seed in SEEDS]
    penalised = [run(seed=seed) for seed in SEEDS]
    for record in trained:
        record.config["prune"]["train"] = how
    for record in penalised:
        record.config["prune"]["train"] = how | {"penalty": {"name": "tpp", "growth": 0.01}}
    table = pivot([*penalised, *trained, *(run(seed=s) for s in SEEDS)], rows="penalty")
    assert table.sides == (("without penalty",), ("without penalty (epochs=15)",), ("tpp",))
