"""The three formats: Markdown that renders, LaTeX that compiles, CSV that reads back to the same numbers."""

from __future__ import annotations

import csv
import io
import re

import pytest

from isoprune.reporting.pivots import as_csv, as_latex, as_markdown, pivot
from isoprune.reporting.pivots.formats import escaped
from reporting.pivots.made import grid

TABLE = {"rows": "ratio", "columns": "repair,lr"}


def test_markdown_says_what_all_share_then_the_table_then_the_notes():
    made = as_markdown(pivot(grid(), **TABLE))
    head, rule, *lines = [line for line in made.splitlines() if line.startswith("|")]
    assert made.startswith("data digits; model mlp_7; criterion l1_norm")
    assert head == "| ratio | none, 0.001 | none, 0.01 | orthp, 0.001 | orthp, 0.01 |"
    assert rule == "| --- | ---: | ---: | ---: | ---: |"
    assert lines == [
        "| 0.5 | 60.00 ± 1.00 | 80.00 ± 1.00 | 65.00 ± 1.00 | 70.00 ± 1.00 |",
        "| 0.9 | 50.00 ± 1.00 | 70.00 ± 1.00 | 55.00 ± 1.00 | 60.00 ± 1.00 |",
    ]
    assert made.endswith("over 3 seeds (0, 1, 2).\n")


def test_latex_is_booktabs_with_groups_ruled_off():
    lines = as_latex(pivot(grid(), **TABLE)).splitlines()
    body = [line for line in lines if not line.startswith("%")]
    assert body == [
        r"\begin{tabular}{@{}lcccc@{}}",
        r"\toprule",
        r" & \multicolumn{2}{c}{none} & \multicolumn{2}{c}{orthp} \\",
        r"\cmidrule(lr){2-3} \cmidrule(lr){4-5}",
        r"ratio & 0.001 & 0.01 & 0.001 & 0.01 \\",
        r"\midrule",
        r"0.5 & $60.00 \pm 1.00$ & $80.00 \pm 1.00$ & $65.00 \pm 1.00$ & $70.00 \pm 1.00$ \\",
        r"0.9 & $50.00 \pm 1.00$ & $70.00 \pm 1.00$ & $55.00 \pm 1.00$ & $60.00 \pm 1.00$ \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    assert len(lines) - len(body) == 2
    assert all(line.startswith("% ") for line in lines[:2])


def test_latex_says_a_label_of_the_rows_once():
    body = as_latex(pivot(grid(), rows="repair,lr", columns="ratio")).split("\\midrule\n")[1].splitlines()
    assert body[0].startswith("none & 0.001 &")
    assert body[1].startswith(" & 0.01 &")
    assert body[2] == r"\addlinespace"
    assert body[3].startswith("orthp & 0.001 &")


@pytest.mark.parametrize(
    "asked", [TABLE, {"rows": "repair,lr,ratio"}, {"rows": "ratio", "columns": "seed,repair,lr"}]
)
def test_every_line_of_latex_has_as_many_cells_as_the_table_has_columns(asked):
    made = as_latex(pivot(grid(), **asked))
    width = len(re.search(r"@\{\}(\w+)@\{\}", made)[1])
    lines = [line for line in made.splitlines() if line.endswith(r"\\")]
    assert len(lines) > 2
    for line in lines:
        spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
        assert line.count("&") + 1 - len(spans) + sum(spans) == width
    assert made.count("{") == made.count("}")


def test_no_character_of_a_word_is_a_command():
    assert escaped("a_b & 50 % #1 {x} $y$ ~ ^ \\ <>") == (
        r"a\_b \& 50 \% \#1 \{x\} \$y\$ \textasciitilde{} \textasciicircum{} \textbackslash{} "
        r"\textless{}\textgreater{}"
    )
    assert escaped("two\nlines") == "two lines"


def test_small_and_endless_numbers_are_mathematics():
    records = grid()
    for record in records:
        record.network("retrained").jsv["mean"] = 1.5e-7
    made = as_latex(pivot(records, rows="ratio", columns="repair,lr", value="jsv", spread="none"))
    assert r"$1.5 \times 10^{-7}$" in made


def test_csv_reads_back_to_the_numbers():
    table = pivot(grid(), **TABLE)
    lines = list(csv.DictReader(io.StringIO(as_csv(table))))
    assert list(lines[0]) == [
        "ratio",
        "repair",
        "lr",
        "n",
        "test_accuracy",
        "std",
        "low95",
        "high95",
        "seeds",
    ]
    assert len(lines) == 8
    for line in lines:
        found = table.summary((line["ratio"],), (line["repair"], line["lr"]))
        told = [float(line[key]) for key in ("test_accuracy", "std", "low95", "high95")]
        assert told == pytest.approx([found.mean, found.std, *found.interval], rel=1e-9)
        assert (line["n"], line["seeds"]) == ("3", "0 1 2")


def test_csv_leaves_empty_what_one_seed_cannot_tell():
    lines = list(csv.DictReader(io.StringIO(as_csv(pivot(grid(), rows="seed,repair,lr,ratio")))))
    assert {(line["std"], line["low95"], line["high95"]) for line in lines} == {("", "", "")}


def test_csv_quotes_a_label_with_a_comma():
    records = grid()
    for record in records:
        how = {"name": "polar", "gain": 2.0 if record.config["retrain"]["lr"] == 0.01 else 1.0}
        record.config["repair"] = how | {"iterations": int(how["gain"])}
    lines = list(csv.DictReader(io.StringIO(as_csv(pivot(records, rows="repair,lr,ratio")))))
    assert {line["repair"] for line in lines} == {
        "polar (gain=1, iterations=1)",
        "polar (gain=2, iterations=2)",
    }
