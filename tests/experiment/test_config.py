"""Configs: what is refused, with which words; what is equal; what a grid makes of a file."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from isoprune.experiment.config import Experiment, experiment, known_keys, read_toml
from isoprune.experiment.grid import expand, override, parse_override, read_experiment, read_study
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


def test_known_keys_are_the_keys_that_can_be_read():
    flat = set()
    for key, value in experiment(table()).as_dict().items():
        flat |= {f"{key}.{k}" for k in value} if isinstance(value, dict) and "name" not in value else {key}
    assert flat == set(known_keys())


def test_grid_is_the_cartesian_product():
    axes = {"seed": [0, 1], "retrain.lr": [0.1, 0.01, 0.001], "repair": ["none", "orthp"]}
    study = expand(table(study=axes), name="s")
    got = {(e.seed, e.retrain.lr, e.repair.name) for e in study.experiments}
    assert len(study.experiments) == 12
    assert got == {(s, lr, r) for s in (0, 1) for lr in (0.1, 0.01, 0.001) for r in ("none", "orthp")}


def test_grid_reaches_into_a_choice_that_is_written_as_a_name():
    study = expand(table(study={"model.activation": ["linear", "relu"]}), name="s")
    assert [e.model.as_dict() for e in study.experiments] == [
        {"name": "mlp_7", "activation": a} for a in ("linear", "relu")
    ]


def test_equal_points_of_a_grid_are_one_experiment():
    study = expand(table(retrain={"epochs": 0}, study={"retrain.lr": [0.1, 0.01], "seed": [0, 1]}), name="s")
    assert [e.seed for e in study.experiments] == [0, 1]


def test_several_grids_are_one_study_without_doubles():
    grids = [
        {"retrain.lr": [0.1, 0.01], "seed": [0, 1]},
        {"retrain.lr": [0.1], "seed": [1, 2], "prune.ratio": [0.5]},
    ]
    base = table(prune={"ratio": 0.5})
    study = expand(base | {"study": grids}, name="s")
    alone = [e for grid in grids for e in expand(base | {"study": grid}, name="s").experiments]
    assert study.experiments == tuple({repr(e): e for e in alone}.values())
    assert len(study.experiments) == 5  # lr 0.1 with seed 1 is in both
    assert study.axes == {"retrain.lr": [0.1, 0.01], "seed": [0, 1, 2], "prune.ratio": [0.5]}
    narrowed = expand(override(base | {"study": grids}, ["study.seed=[7]"]), name="s")
    assert {e.seed for e in narrowed.experiments} == {7}
    with pytest.raises(IsopruneError, match=r"the grid sets 'prune\.ratio'"):
        override(base | {"study": grids}, ["prune.ratio=0.1"])
    with pytest.raises(IsopruneError, match=r"study is \[1\], not a table"):
        expand(base | {"study": [1]}, name="s")


def test_without_a_grid_a_file_is_a_study_of_one():
    assert expand(table(), name="s").experiments == (experiment(table()),)


BAD_GRIDS = {
    "one value": (
        {"seed": 3},
        r'study\.seed must be a list of values, not 3\. Write "seed" = \[first, second\]',
    ),
    "no value": ({"seed": []}, r"study\.seed must be a list of values"),
    "a table": ({"retrain": {"lr": [1]}}, r'Write "retrain\.lr" = \[\.\.\.\] with the dotted key in quotes'),
    "an unknown key": ({"retrain.rl": [1]}, r"Unknown key 'retrain\.rl'\. Did you mean 'retrain\.lr'"),
    "a bad value": ({"prune.ratio": [0.5, 1.5]}, r"prune\.ratio is 1\.5, outside"),
    "a key below a number": ({"seed.x": [1]}, r"Cannot set 'seed\.x': seed is 0, not a table"),
}


@pytest.mark.parametrize("case", BAD_GRIDS)
def test_bad_grid_is_refused(case):
    axes, message = BAD_GRIDS[case]
    with pytest.raises(IsopruneError, match=message):
        expand(table(seed=0, study=axes), name="s")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("retrain.lr=0.1", 0.1),
        ("retrain.lr = 1e-3", 1e-3),
        ("seed=3", 3),
        ("repair=orthp", "orthp"),
        ("repair=my_package.my_module:function", "my_package.my_module:function"),
        ("repair='orthp'", "orthp"),
        ('model={name="mlp_7", depth=3}', {"name": "mlp_7", "depth": 3}),
        (
            "dense.schedule={name='step_decay', milestones=[1, 2]}",
            {"name": "step_decay", "milestones": [1, 2]},
        ),
        ("study.seed=[0, 1]", [0, 1]),
        ("flag=true", True),
    ],
)
def test_override_is_a_toml_value_and_bare_words_are_strings(text, value):
    got = parse_override(text)
    assert got == (text.partition("=")[0].strip(), value)
    assert type(got[1]) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("retrain.lr", r"--set 'retrain\.lr' is not key=value\. Write for example --set retrain\.lr=0\.1"),
        ("=3", "is not key=value"),
        ("lr=", "is not key=value"),
        ("lr=0.1.2", r"'0\.1\.2' is not a TOML value\. Quote strings"),
        ("repair={name=orthp}", "is not a TOML value"),
    ],
)
def test_bad_override_is_refused(text, message):
    with pytest.raises(IsopruneError, match=message):
        parse_override(text)


def test_override_leaves_the_table_as_it_was():
    base = table()
    changed = override(base, ["retrain.lr=0.5", "model.width=10"])
    assert base == table()
    assert changed["retrain"]["lr"] == 0.5
    assert changed["model"] == {"name": "mlp_7", "width": 10}


def test_override_of_an_axis_says_how_to_narrow_the_grid():
    with pytest.raises(
        IsopruneError, match=r"the grid sets 'seed'\. Narrow the grid: --set 'study\.seed=\[\.\.\.\]'"
    ):
        override(table(study={"seed": [0, 1]}), ["seed=0"])
    with pytest.raises(IsopruneError, match=r"the grid sets 'model\.activation'"):
        override(table(study={"model.activation": ["relu"]}), ["model=lenet_5"])
    narrowed = override(table(study={"seed": [0, 1], "retrain.lr": [1]}), ["study.seed=[5]"])
    assert narrowed["study"] == {"seed": [5], "retrain.lr": [1]}


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
