"""Configs: what is refused, with which words; what is equal; what a grid makes of a file."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from isoprune.experiment.config import Experiment, _ShortForm, experiment, read_toml
from isoprune.experiment.grid import read_experiment, read_study
from isoprune.experiment.validation import keys_of
from isoprune.types import IsopruneError


def table(**changes: object) -> dict:
    """Return a small valid table; a change to None removes the key."""
    whole = {
        "data": "digits",
        "model": "mlp_7",
        "dense": {"epochs": 2, "lr": 0.01},
        "prune": {"ratio": 0.5},
        "retrain": {"epochs": 2, "lr": 0.01},
    }
    return {key: value for key, value in (whole | changes).items() if value is not None}


BAD = {
    "an unknown section": (
        table(pruning={}),
        r"Unknown key 'pruning'\. Did you mean 'prune\.\w+'\? Known: seed, data",
    ),
    "an unknown key": (
        table(retrain={"epochs": 1, "lr": 0.1, "momentom": 0.9}),
        r"Unknown key 'retrain\.momentom'\. Did you mean 'retrain\.momentum'\?",
    ),
    "a word that is no rate": (
        table(retrain={"epochs": 1, "lr": "best"}),
        r"retrain\.lr must be a number or 'auto' or left out, not 'best'",
    ),
    "a word that is no rate of the dense training": (
        table(dense={"epochs": 1, "lr": "best"}),
        r"dense\.lr must be a number or 'auto' or left out, not 'best'",
    ),
    "a key of another tool": (
        table(prune={"amount": 0.5}),
        r"Unknown key 'prune\.amount'\..*Known: .*prune\.ratio",
    ),
    "a ratio of one": (
        table(prune={"ratio": 1}),
        r"prune\.ratio is 1, outside \[0, 1\)\. It is the fraction that",
    ),
    "a negative ratio": (table(prune={"ratio": -0.1}), r"prune\.ratio is -0\.1, outside \[0, 1\)"),
    "a ratio in percent": (table(prune={"ratio": 80}), r"prune\.ratio is 80, outside"),
    "a ratio that is no number": (
        table(prune={"ratio": "0.8"}),
        r"prune\.ratio must be a number or a table or left out, not '0\.8' \(str\)",
    ),
    "a ratio that is true": (
        table(prune={"ratio": True}),
        r"prune\.ratio must be a number or a table or left out, not True \(bool\)",
    ),
    "a ratio of NaN": (table(prune={"ratio": math.nan}), r"prune\.ratio is nan"),
    "an unknown scope": (
        table(prune={"ratio": 0.5, "scope": "intern"}),
        r"prune\.scope is 'intern' \(str\)\. Did you mean 'internal'\? Known: all, internal",
    ),
    "a scope of another type": (
        table(prune={"ratio": 0.5, "scope": 3}),
        r"prune\.scope is 3 \(int\)\. Known: all",
    ),
    "no ratio": (table(prune={}), r"Missing key 'prune\.ratio'\. Add it"),
    "no data": (table(data=None), r"Missing key 'data'"),
    "half an epoch": (
        table(dense={"epochs": 0.5}),
        r"dense\.epochs must be a whole number, not 0\.5 \(float\)",
    ),
    "fewer than no epochs": (table(dense={"epochs": -1}), r"dense\.epochs is -1, but must be at least 0"),
    "no learning rate": (
        table(dense={"epochs": 3}),
        r"Missing key 'dense\.lr': 3 epochs need a learning rate",
    ),
    "a learning rate of zero": (table(dense={"epochs": 3, "lr": 0}), r"dense\.lr is 0, outside \(0, inf\)"),
    "an infinite learning rate": (table(dense={"epochs": 3, "lr": math.inf}), r"dense\.lr is inf, outside"),
    "a momentum of one": (
        table(dense={"epochs": 3, "lr": 1, "momentum": 1}),
        r"momentum is 1, outside \[0, 1\)",
    ),
    "an empty batch": (
        table(dense={"epochs": 3, "lr": 1, "batch": 0}),
        r"dense\.batch is 0, but must be at least 1",
    ),
    "a section that is a number": (table(dense=3), r"dense must be a table of keys, not 3 \(int\)"),
    "a choice that is a number": (table(model=7), r"model must be a name or a table with a name, not 7"),
    "a choice without a name": (table(model={"width": 7}), r"model has no name\. Write \{name"),
    "an option that JSON has not": (
        table(model={"name": "mlp_7", "gain": math.inf}),
        r"model\.gain is inf; give a finite number",
    ),
    "a negative seed": (table(seed=-1), r"seed is -1, but must be at least 0"),
    "a measure that is a number": (
        table(measure={"measures": [3]}),
        r"measure\.measures\[0\] must be a name or a table with a name, not 3",
    ),
    "an unknown word for measures": (
        table(measure={"measures": "every"}),
        r"measure\.measures must be a list of a method's name or 'all', not 'every'",
    ),
    "no samples": (table(measure={"samples": 0}), r"measure\.samples is 0, but must be at least 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_config_is_refused_in_one_line_with_the_remedy(case):
    bad, message = BAD[case]
    with pytest.raises(IsopruneError, match=message) as caught:
        experiment(bad)
    assert "\n" not in str(caught.value)


def test_defaults_are_those_of_the_paper():
    dense = experiment(table()).dense
    assert (dense.momentum, dense.batch, dense.weight_decay) == (0.9, 100, 1e-4)


def test_config_survives_its_own_json():
    made = experiment(table(repair={"name": "orthp", "gain": 1.0}, seed=3))
    assert experiment(json.loads(json.dumps(made.as_dict()))) == made


def test_whole_numbers_and_floats_of_one_value_are_one_config():
    assert experiment(table(dense={"epochs": 2, "lr": 1})) == experiment(
        table(dense={"epochs": 2, "lr": 1.0})
    )


def test_a_training_of_no_epochs_has_no_other_key():
    """What no step reads must not tell two experiments apart."""
    a, b = (experiment(table(retrain={"epochs": 0, "lr": lr})) for lr in (0.1, 0.2))
    assert a.as_dict() == b.as_dict()
    assert a.as_dict()["retrain"] == {"epochs": 0}


def test_the_keys_of_the_short_form_are_those_that_can_be_read():
    flat = set()
    for key, value in experiment(table()).as_dict().items():
        flat |= {f"{key}.{k}" for k in value} if isinstance(value, dict) and "name" not in value else {key}
    assert flat == set(keys_of(_ShortForm))


def test_errors_of_a_file_begin_with_its_name(tmp_path: Path):
    file = tmp_path / "mine.toml"
    file.write_text('data = "digits"\nmodle = "mlp_7"\n')
    with pytest.raises(IsopruneError, match=r"mine\.toml: Unknown key 'modle'\. Did you mean 'model'"):
        read_study(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"No file .*x\.toml\. Give the path"),
        (b"data = = 3", r"x\.toml is not valid TOML: .*line 1"),
        (b"\xff\xfe", r"x\.toml is not UTF-8 text"),
    ],
)
def test_unreadable_file_is_refused(tmp_path: Path, content: bytes | None, message: str):
    file = tmp_path / "x.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(IsopruneError, match=message):
        read_toml(file)
    with pytest.raises(IsopruneError, match="is a directory"):
        read_toml(tmp_path)


def test_a_study_is_not_one_experiment(tmp_path: Path):
    file = tmp_path / "x.toml"
    file.write_text(
        'data = "digits"\nmodel = "mlp_7"\nretrain.epochs = 0\ndense.epochs = 0\nprune.ratio = 0.5\n'
    )
    assert isinstance(read_experiment(file), Experiment)
    file.write_text(file.read_text() + "[study]\nseed = [0, 1]\n")
    with pytest.raises(IsopruneError, match=r"is a study of 2 experiments\. Start it by: isoprune study"):
        read_experiment(file)


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parents[2] / "studies").glob("*.toml")), ids=lambda f: f.stem
)
def test_studies_of_the_repository_are_valid(file: Path):
    assert len(read_study(file).experiments) > 1


def test_config_loads_without_torch():
    code = (
        "import sys, isoprune.experiment, isoprune.experiment.config, isoprune.experiment.grid, isoprune.cli;"
        "isoprune.cli.main(['run', '--help']); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
