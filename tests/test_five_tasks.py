"""Five tasks from the dense network to the retrained one, each with its own loss, metric and batches."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

TASKS = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "tasks.py"))


# By how much retraining must improve the repaired network, in units of the metric: half of what it does.
@pytest.mark.parametrize(
    ("name", "gain"),
    [
        ("classification", 0.01),
        pytest.param("regression", 0.002, marks=pytest.mark.matrix),
        pytest.param("segmentation", 0.05, marks=pytest.mark.matrix),
        pytest.param("detection", 0.3, marks=pytest.mark.matrix),
        pytest.param("language", 0.5, marks=pytest.mark.matrix),
    ],
)
def test_retraining_improves_each_tasks_own_metric(name, gain):
    """Of the detector the backbone is pruned: boxes are sorted by values, which a trace does not have."""
    torch.manual_seed(0)
    case = TASKS["CASES"][name](0)
    row = TASKS["run"](case, 0)
    assert [*row] == ["dense", "pruned", "repaired", "retrained"]
    sign = 1 if case.task.judged_by[1] else -1
    assert sign * (row["retrained"] - row["repaired"]) > gain, row
    assert sign * (row["dense"] - row["pruned"]) > 0, row


def test_a_language_model_is_judged_by_a_number_of_which_less_is_better():
    case = TASKS["CASES"]["language"](0)
    assert case.task.judged_by == ("perplexity", False)
