"""Grids and overrides: what they make of a file, and what is refused."""

from __future__ import annotations

import pytest

from isoprune.experiment.config import experiment
from isoprune.experiment.grid import expand, override, parse_override
from isoprune.types import IsopruneError

from .test_config import table


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
