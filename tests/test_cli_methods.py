"""`isoprune methods`: every table, and the picture of the schedules."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from commands import refused
from isoprune.cli import main


def test_methods_lists_every_table_with_the_first_line_of_each(capsys: Any):
    from isoprune.experiment.signatures import SHOWN, table

    assert main(["methods"]) == 0
    out = capsys.readouterr().out
    for kind in SHOWN:
        for name in table(kind):
            assert re.search(rf"^  {name}\b.*\n(?: {{8}}\S.*\n)*      \S", out, re.M), name
    assert "`" not in out
    assert main(["methods", "repair"]) == 0
    assert "mlp_7" not in capsys.readouterr().out


def test_a_method_s_formula_options_needs_cost_and_paper(capsys: Any):
    assert main(["methods", "snip"]) == 0
    out = capsys.readouterr().out
    assert r"s_i = \sum_{j \in i} |\partial L / \partial m_j|" in out
    assert "needs:   data, labels, gradients" in out
    assert "cost:    a backward pass of all the data\n" in out
    assert "memory:  a gradient of the weights\n" in out
    assert re.search(r"paper: +Lee, Ajanthan & Torr, ICLR 2019\n +year: +2019", out)
    assert main(["methods", "linear"]) == 0  # a schedule and a cadence
    out = capsys.readouterr().out
    assert "linear (schedule)" in out
    assert "linear (cadence)" in out
    assert "Did you mean 'snip'?" in refused(capsys, "methods", "snipp")


def test_the_page_of_all_methods_is_what_the_methods_say(tmp_path: Path):
    assert main(["methods", "--out", str(tmp_path / "methods.md")]) == 0
    made = (tmp_path / "methods.md").read_text(encoding="utf-8")
    page = Path(__file__).parents[1] / "docs" / "methods.md"
    assert page.read_text(encoding="utf-8") == made, "run: isoprune methods --out docs/methods.md"
    lines = [line for line in made.splitlines() if line.startswith("| `")]
    assert len(lines) == len({line.split("`")[1] for line in lines}) + 1  # linear is two
    tables = made.split("## ")[1:]
    for table in tables:  # as many cells in every line
        rows = [line for line in table.splitlines() if line.startswith("|")]
        assert len({row.count(" | ") for row in rows}) == 1, table.splitlines()[0]


def test_no_method_lacks_cost_or_memory():
    from isoprune.experiment.catalogue import OTHERS, catalogue, facts
    from isoprune.experiment.signatures import SHOWN

    numbers = ("schedule", "cadence")  # they work out a number, and so take nothing
    for kind in {*SHOWN} - {*OTHERS, *numbers}:
        for entry in catalogue(kind).values():
            known = facts(entry)
            assert known["cost"], f"{kind} {entry.name}"
            assert known["memory"], f"{kind} {entry.name}"
            assert "Memory:" not in known["cost"]  # one ends where the other begins
    assert all(facts(e)["memory"] == "" for kind in numbers for e in catalogue(kind).values())


def test_the_list_is_made_without_torch():
    code = (
        "import sys; from isoprune.cli import main; assert main(['methods', 'snip']) == 0; "
        "assert main(['methods']) == 0; sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_methods_draws_every_schedule(capsys: Any, tmp_path: Path):
    from isoprune.cli.schedule_curves import BLOCKS, heights, schedule_curves
    from isoprune.methods.schedules import SCHEDULES, build
    from isoprune.methods.schedules.examples import LEAST, examples

    assert main(["methods", "--schedules", "--epochs", "30"]) == 0
    out = capsys.readouterr().out
    for name in SCHEDULES:
        assert re.search(rf"^{name} +[{BLOCKS}]", out, re.M), name
    assert main(["methods", "--schedules", "--out", str(tmp_path / "s.svg")]) == 0
    assert all(f">{name}<" in (tmp_path / "s.svg").read_text() for name in SCHEDULES)
    for epochs in (LEAST, 45, 90, 91, 400):
        assert set(examples(epochs)) == set(SCHEDULES)
        for curve in schedule_curves(epochs):
            schedule = build(curve.name, epochs=epochs, **examples(epochs)[curve.name])
            assert curve.points[-1][0] == epochs
            for x, factor in curve.points:
                if x == int(x):
                    assert factor == schedule(x / epochs)
    # The published milestones of the halving rule, as the picture shows them.
    halving = next(curve for curve in schedule_curves(90) if curve.name == "halving").points
    falls = [x for (_, before), (x, after) in itertools.pairwise(halving) if after < before]
    assert falls == [30, 60, 75, 83]
    assert heights([1.0, 1e-4, 0.0, 0.0], 3) == [16, 1, 1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--schedules", "--epochs", "3"], r"--epochs 3: to show every schedule takes 10\. Raise it"),
        (["repair", "--schedules"], r"--schedules draws schedules alone\. Leave out 'repair'"),
        (["--epochs", "30"], r"--epochs is for the picture of the schedules\. Add --schedules"),
        (["--out", "s.svg"], r"--out is for the table of all methods \(\.md, and no name\), not 's\.svg'"),
        (["snip", "--out", "s.md"], r"not 's\.md' of 'snip', or for the picture of the schedules: add"),
        (["--schedules", "--out", "s.gif"], r"s\.gif has no ending that can be drawn"),
    ],
)
def test_bad_pictures_of_schedules_are_refused(words: list[str], message: str, capsys: Any):
    assert re.search(message, refused(capsys, "methods", *words))
