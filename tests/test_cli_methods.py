"""`isoprune methods`: every table, and the picture of the schedules."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from commands import refused
from isoprune.cli import main


def test_methods_lists_every_table_with_the_first_line_of_each(capsys: Any):
    from isoprune.experiment.signatures import KINDS, table

    assert main(["methods"]) == 0
    out = capsys.readouterr().out
    for kind in KINDS:
        for name in table(kind):
            assert re.search(rf"^  {name}\b.*\n(?: {{8}}\S.*\n)*      \S", out, re.M), name
    assert "`" not in out
    assert main(["methods", "repair"]) == 0
    assert "mlp_7" not in capsys.readouterr().out


def test_methods_draws_every_schedule(capsys: Any, tmp_path: Path):
    from isoprune.cli.schedule_curves import schedule_curves
    from isoprune.cli.schedule_sketch import BLOCKS, heights
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
        (["--out", "s.svg"], r"--out is for the picture of the schedules\. Add --schedules"),
        (["--schedules", "--out", "s.gif"], r"s\.gif has no ending that can be drawn"),
    ],
)
def test_bad_pictures_of_schedules_are_refused(words: list[str], message: str, capsys: Any):
    assert re.search(message, refused(capsys, "methods", *words))
