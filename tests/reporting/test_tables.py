"""Tables: every number against a slow recount from the records."""

from __future__ import annotations

import statistics

import pytest
from rich.console import Console

from isoprune.comparison import text
from isoprune.comparison.statistics import summarize
from isoprune.reporting import terminal_table
from isoprune.reporting.study import make_cells
from isoprune.reporting.tables import groups, results, sizes
from isoprune.types.tables import markdown
from reporting.records import jsv_vs_ratio, lr_effect, record


def _printed(table, width):
    console = Console(width=width, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_results_are_means_and_deviations_over_seeds():
    records = lr_effect()
    table = results(make_cells(records))
    assert len(table.rows) == 12
    for row in table.rows:
        told = dict(zip(table.columns, row, strict=True))
        mine = [
            one
            for one in records
            if told["network"].endswith(one.config["model"]["activation"])
            and told["repair"] == one.labels.get(name := one.config["repair"]["name"], name)
            and told["LR"] == text.learning_rate(one.config["retrain"]["lr"])
        ]
        after = [100 * one.network("retrained").metrics["test_accuracy"] for one in mine]
        assert told["n"] == "3"
        assert told["after %"] == f"{statistics.mean(after):.2f} ± {statistics.stdev(after):.2f}"
        first = [100 * one.trainability_accuracy for one in mine]
        assert told["trainability %"] == f"{statistics.mean(first):.2f} ± {statistics.stdev(first):.2f}"
        before = [100 * one.network("repaired").metrics["test_accuracy"] for one in mine]
        assert told["before %"] == f"{statistics.mean(before):.2f}"


def test_one_seed_shows_no_deviation_and_no_retraining_shows_a_dash():
    one, measured = results(make_cells([record()])), results(make_cells([record(epochs=0)]))
    assert "±" not in "".join(one.rows[0])
    told = dict(zip(measured.columns, measured.rows[0], strict=True))
    assert (told["LR"], told["after %"], told["trainability %"]) == ("–", "–", "–")
    assert told["dense %"] == "84.60"


def test_columns_that_tell_nothing_apart_are_left_out_and_others_come():
    assert "criterion" not in results(make_cells([record()])).columns
    both = results(make_cells([record(), record(criterion="l2_norm"), record(epochs=5)]))
    assert both.columns[:4] == ("network", "criterion", "variant", "repair")
    assert {row[1] for row in both.rows} == {"L1", "L2"}


def test_sizes_are_the_realised_ones():
    table = sizes(make_cells(lr_effect()))
    assert len(table.rows) == 2
    told = dict(zip(table.columns, table.rows[0], strict=True))
    assert (told["filters %"], told["parameters %"], told["max error"]) == ("80.0", "91.6", "1.2e-7")
    assert told["parameters"].replace("\u202f", "") == "153910 → 13010"


def test_groups_are_listed_once_however_many_runs_share_them():
    table = groups(make_cells(lr_effect()))
    assert len(table.rows) == 2 * 6
    assert table.rows[0] == ("mlp_7 linear", "net.0", "0.8", "100", "80", "80.0")


def test_markdown_is_a_grid_and_names_cannot_break_it():
    lines = markdown(results(make_cells(lr_effect()))).splitlines()
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    hostile = record()
    hostile.config["model"]["name"] = "a|b\nc <i>"
    row = markdown(results(make_cells([hostile]))).splitlines()[2]
    assert row.startswith("| a\\|b c \\<i> linear |")


def test_terminal_table_fits_eighty_columns():
    printed = _printed(terminal_table(lr_effect()), 80)
    assert max(map(len, printed.splitlines())) <= 80
    assert "84.80±0.09" in printed
    assert "…" not in printed
    # Whole: every row of the study is one line.
    assert sum(line.startswith(("no repair", "OrthP", "scratch")) for line in printed.splitlines()) == 12


def test_terminal_table_takes_names_as_they_are():
    hostile = record()
    hostile.config["model"]["name"] = "[red]net[/red]"
    assert "[red]net[/red] linear" in _printed(terminal_table([hostile]), 100)


def test_terminal_table_of_a_measurement():
    printed = _printed(terminal_table(jsv_vs_ratio(1)), 80)
    assert sum(line.startswith(("no repair", "OrthP")) for line in printed.splitlines()) == 48


@pytest.mark.parametrize(
    ("values", "want"),
    [
        ([0.84567], "84.57"),
        ([0.8, 0.82], "81.0 ± 1.4"),
        ([0.8, 0.81], "80.50 ± 0.71"),
        ([0.5, 0.5], "50.00 ± 0.00"),
        ([], "–"),
    ],
)
def test_percent_has_one_decimal_where_the_deviation_is_large(values, want):
    assert text.percent(summarize(values)) == want


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (0.0, "0"),
        (1.0, "1.00"),
        (2.534, "2.53"),
        (0.00512, "0.0051"),
        (123.4, "123"),
        (3.14e-7, "3.1e-7"),
        (2e5, "2.0e5"),
        (float("nan"), "–"),
        (float("inf"), "∞"),
    ],
)
def test_numbers(value, want):
    assert text.number(value) == want


@pytest.mark.parametrize(
    ("value", "want"), [(0.1, "0.1"), (0.01, "1e-2"), (0.0015, "1.5e-3"), (1e-5, "1e-5"), (1.0, "1")]
)
def test_learning_rates(value, want):
    assert text.learning_rate(value) == want
    assert float(want) == value


def test_small_differences_have_no_negative_zero():
    assert text.points(-0.0004) == "0.0"
    assert text.points(-0.034) == "−3.4"


def test_runs_with_distillation_say_so():
    plain, taught = record(), record()
    taught.config["retrain"]["distill"] = {"weight": 0.9, "temperature": 4.0}
    table = results(make_cells([plain, taught]))
    column = table.columns.index("variant")
    assert sorted(row[column] for row in table.rows) == ["with distillation", "–"]
