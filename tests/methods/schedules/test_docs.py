"""docs/schedules.md against the code: every schedule and option, and its configs."""

from __future__ import annotations

import inspect
import re
import tomllib
from pathlib import Path

import pytest

from isoprune.experiment.config import experiment
from isoprune.experiment.resolve import resolve
from isoprune.methods.schedules import SCHEDULES

PAGE = (Path(__file__).parents[3] / "docs" / "schedules.md").read_text(encoding="utf-8")
CONFIG = {
    "data": "digits",
    "model": "mlp_7",
    "dense": {"epochs": 90, "lr": 0.1},
    "prune": {"ratio": 0.5},
    "retrain": {"epochs": 90, "lr": 0.1},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_table_has_every_schedule_with_its_options_and_defaults(name):
    row = re.search(rf"^\| `{name}` \|[^|]*\|([^|]*)\|", PAGE, re.M)
    assert row
    for option, parameter in inspect.signature(SCHEDULES[name]).parameters.items():
        if option == "epochs":
            continue
        assert f"`{option}`" in row[1], option
        if isinstance(parameter.default, int | float):
            told = re.search(rf"`{option}` \(([^)]*)\)", row[1])
            assert told, option
            assert float(told[1]) == parameter.default


@pytest.mark.parametrize("text", re.findall(r"```toml\n(.*?)```", PAGE, re.S))
def test_the_configs_are_configs(text):
    table = tomllib.loads(text)
    merged = {**CONFIG, **table}
    for section in ("dense", "retrain"):
        merged[section] = {**CONFIG[section], **table.get(section, {})}
    resolve(experiment(merged))
