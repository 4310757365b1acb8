"""Choices: the function's signature is the schema, and its defaults go into the record."""

from __future__ import annotations

import sys
from typing import Any, Literal

import pytest
import torch
from torch import Generator, nn

from isoprune.experiment.config import Choice, TrainingConfig, experiment
from isoprune.experiment.pins import PIN
from isoprune.experiment.resolve import resolve
from isoprune.experiment.signatures import bind, complete, find, schedule, table
from isoprune.types import IsopruneError
from isoprune.types.importing import source_digest

from .tiny import CONFIG

HERE = __name__


def shaky(
    pruned: Any,
    signals: Any,
    *,
    generator: Generator,
    scale: float,
    steps: int = 3,
    mode: Literal["fan_in", "fan_out"] = "fan_in",
    layers: tuple[str, ...] = (),
    label: str | None = None,
    exact: bool = False,
) -> nn.Module:
    """A repair of an outsider."""
    return pruned


def lenient(pruned: Any, signals: Any, *, generator: Any, **options: Any) -> nn.Module:
    return pruned


def test_unknown_method_names_the_nearest():
    with pytest.raises(
        IsopruneError, match=r"Unknown repair 'orthop'\. Did you mean 'orthp'\? Known: .*none"
    ):
        find("repair", "orthop")
    with pytest.raises(IsopruneError, match=r"For your own, write 'your_module:your_function'"):
        find("model", "transformer")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module_here:f", r"Cannot import 'no_such_module_here' of .*ModuleNotFoundError"),
        ("math:squrt", r"'math' has no function 'squrt'\. Did you mean 'sqrt'"),
        (f"{HERE}:HERE", "has no function 'HERE'"),
    ],
)
def test_outsiders_function_that_is_not_there_is_refused(name: str, message: str):
    with pytest.raises(IsopruneError, match=message):
        find("repair", name)


def test_outsiders_function_needs_no_registration():
    got = complete("repair", Choice(f"{HERE}:shaky", {"scale": 1}), "repair")
    assert got.as_dict() == {
        "name": f"{HERE}:shaky",
        "scale": 1.0,
        "steps": 3,
        "mode": "fan_in",
        "layers": [],
        "label": None,
        "exact": False,
        PIN: source_digest(sys.modules[HERE]),
    }
    assert isinstance(got.options["scale"], float)


BAD = {
    "unknown": (
        {"scale": 1.0, "step": 3},
        r"Unknown option 'step' of repair '.*:shaky' \(repair\)\. Did you mean 'steps'",
    ),
    "missing": ({}, r"repair: repair '.*:shaky' needs the option 'scale'\. Write repair = \{name"),
    "supplied": ({"scale": 1.0, "generator": 3}, r"Unknown option 'generator'"),
    "text for a number": ({"scale": "1"}, r"repair\.scale must be a number, not '1' \(str\)"),
    "truth for a number": ({"scale": True}, r"repair\.scale must be a number, not True"),
    "fraction for a count": ({"scale": 1.0, "steps": 1.5}, r"repair\.steps must be a whole number, not 1\.5"),
    "number for a truth": ({"scale": 1.0, "exact": 1}, r"repair\.exact must be true or false, not 1"),
    "none of the literals": (
        {"scale": 1.0, "mode": "fan"},
        r"repair\.mode is 'fan' \(str\)\. Did you mean 'fan_in'\? Known: fan_in, fan_out",
    ),
    "text for a list": ({"scale": 1.0, "layers": "a"}, r"repair\.layers must be a list of a string, not 'a'"),
    "wrong in a list": (
        {"scale": 1.0, "layers": ["a", 1]},
        r"repair\.layers\[1\] must be a string, not 1 \(int\)",
    ),
    "number for text or nothing": (
        {"scale": 1.0, "label": 3},
        r"repair\.label must be a string or left out, not 3",
    ),
    "text for batches": ({"scale": 1.0, "batches": "all"}, r"repair\.batches must be a whole number"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_option_is_refused(case: str):
    options, message = BAD[case]
    with pytest.raises(IsopruneError, match=message):
        complete("repair", Choice(f"{HERE}:shaky", options), "repair")


def test_function_that_takes_anything_gets_anything():
    got = complete("repair", Choice(f"{HERE}:lenient", {"whatever": [1, "a"]}), "repair")
    assert got.options == {"whatever": [1, "a"], PIN: source_digest(sys.modules[HERE])}


def test_complete_is_idempotent_and_ignores_the_order_of_options():
    a = complete("repair", Choice(f"{HERE}:shaky", {"scale": 2, "steps": 1}), "repair")
    b = complete("repair", Choice(f"{HERE}:shaky", {"steps": 1, "scale": 2.0}), "repair")
    assert a == b == complete("repair", a, "repair")


def test_batches_are_the_pipelines_and_lists_become_the_tuples_that_a_function_asks_for():
    choice = Choice(f"{HERE}:shaky", {"scale": 1.0, "layers": ["a"], "batches": 8})
    assert bind("repair", choice).keywords == {"scale": 1.0, "layers": ("a",)}


@pytest.mark.parametrize("kind", ["data", "model", "criterion", "repair", "schedule"])
def test_every_entry_of_every_table_can_be_chosen(kind: str):
    """A table's function must take keyword options that JSON can hold, or have none."""
    for name in table(kind):
        try:
            complete(kind, Choice(name), kind)
        except IsopruneError as error:
            assert "needs the option" in str(error)  # noqa: PT017  options without a default are allowed


def test_schedule_gets_the_number_of_epochs():
    training = TrainingConfig(30, 0.1, Choice("step_decay", {"milestones": [10, 20], "gamma": 0.5}))
    assert [schedule(training)(epoch / 30) for epoch in (0, 9, 10, 19, 20, 29)] == [
        1,
        1,
        0.5,
        0.5,
        0.25,
        0.25,
    ]


def config(**changes: Any) -> dict[str, Any]:
    return {
        "data": "digits",
        "model": "mlp_7",
        "dense": {"epochs": 2, "lr": 0.01},
        "prune": {"ratio": 0.5},
        "retrain": {"epochs": 2, "lr": 0.01},
    } | changes


def test_resolved_experiment_says_every_default():
    made = resolve(experiment(config()))
    assert made.model.options["depth"] == 7
    assert made.data.options["size"] == 32
    assert resolve(made) == made


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "digts"}, r"Unknown data set 'digts'\. Did you mean 'digits'"),
        ({"model": "mlp7"}, r"Unknown model 'mlp7'\. Did you mean 'mlp_7'"),
        (
            {"prune": {"ratio": 0.5, "criterion": "l1norm"}},
            r"Unknown criterion 'l1norm'\. Did you mean 'l1_norm'",
        ),
        (
            {"model": {"name": "mlp_7", "widht": 3}},
            r"Unknown option 'widht' of model 'mlp_7'.*Did you mean 'width'",
        ),
        (
            {"data": {"name": "digits", "limit": "few"}},
            r"data\.limit must be a whole number or left out, not 'few'",
        ),
        (
            {"dense": {"epochs": 2, "lr": 1, "schedule": {"name": "step_decay", "milestones": [5]}}},
            r"milestones = \[5\] do not ascend within a run of 2 epochs",
        ),
        (
            {"retrain": {"epochs": 2, "lr": 1, "schedule": "cosin"}},
            r"Unknown schedule 'cosin'",
        ),
    ],
)
def test_bad_choice_is_refused_before_anything_is_trained(changes: dict, message: str):
    with pytest.raises(IsopruneError, match=message):
        resolve(experiment(config(**changes)))


def test_resolving_draws_no_random_number():
    before = torch.random.get_rng_state()
    resolve(experiment(config()))
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_list_of_repairs_is_a_chain_of_complete_choices():
    made = experiment(CONFIG | {"repair": ["polar", {"name": "approximate_isometry", "steps": 7}, "none"]})
    done = resolve(made).repair
    assert done.name == "chain"
    assert [step["name"] for step in done.options["steps"]] == ["polar", "approximate_isometry", "none"]
    assert done.options["steps"][0]["solver"] == "svd"
    assert done.options["steps"][1]["steps"] == 7
    assert (
        resolve(experiment(CONFIG | {"repair": done.as_dict()})).repair == done
    )  # as a record's config says it
    parts = bind("repair", done).keywords["steps"]
    assert [part.func.__name__ for part in parts] == ["polar", "approximate_isometry", "none"]
    with pytest.raises(IsopruneError, match=r"Unknown option 'gains' of repair 'polar' \(repair\[1\]\)"):
        resolve(experiment(CONFIG | {"repair": ["none", {"name": "polar", "gains": 2}]}))
    with pytest.raises(IsopruneError, match=r"repair\[0\] must be a name or a table"):
        experiment(CONFIG | {"repair": [3]})


def retrained(schedule: Any, **changes: Any) -> Choice:
    """The resolved schedule of an experiment that retrains for 30 epochs by ``schedule``."""
    retrain = {"epochs": 30, "lr": 0.01, "schedule": schedule}
    return resolve(experiment(config(retrain=retrain, **changes))).retrain.schedule


def test_a_schedule_inside_a_schedule_is_complete_too_and_counts_the_epochs_that_are_left():
    around = {"name": "warm_up", "rise": 6, "schedule": {"name": "step_decay", "milestones": [12]}}
    done = retrained(around)
    assert done.options["schedule"] == {"name": "step_decay", "gamma": 0.1, "milestones": [12]}
    assert retrained(done.as_dict()) == done  # as a record's config says it
    factors = [schedule(TrainingConfig(30, 0.1, done))(epoch / 30) for epoch in (6, 17, 18, 29)]
    assert factors == [1, 1, 0.1, 0.1]
    named = retrained(around | {"schedule": "cosine"})
    assert named.options["schedule"] == {"name": "cosine", "floor": 0.0}
    twice = retrained({"name": "warm_up", "rise": 2, "schedule": around})
    assert twice.options["schedule"] == done.as_dict()


def test_a_nested_schedule_that_is_left_out_stays_so():
    by_milestones = {"name": "lr_rewinding", "dense_epochs": 90, "milestones": [30, 60]}
    done = retrained(by_milestones)
    assert done.options["schedule"] is None
    assert retrained(done.as_dict()) == done
    assert schedule(TrainingConfig(30, 0.1, done))(0.0) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        ("cosin", r"Unknown schedule 'cosin'\. Did you mean 'cosine'"),
        (
            {"name": "cosine", "flor": 1},
            r"Unknown option 'flor' of schedule 'cosine' \(retrain\.schedule\.schedule",
        ),
        ({"name": "cosine", "floor": 2}, r"floor = 2\.0; it is a factor on the first learning rate"),
        ({"name": "halving"}, r"retrain\.schedule\.schedule: schedule 'halving' needs the option 'stages'"),
        (3, r"retrain\.schedule\.schedule must be a name or a table with a name, not 3"),
        (["cosine"], r"retrain\.schedule\.schedule must be a name or a table"),
        (
            {"name": "step_decay", "milestones": [28]},
            r"milestones = \[28\] do not ascend within a run of 24 epochs\. Give epochs from 1 to 23",
        ),
    ],
)
def test_a_bad_schedule_inside_a_schedule_is_refused_before_anything_is_trained(inner: Any, message: str):
    with pytest.raises(IsopruneError, match=message):
        retrained({"name": "warm_up", "rise": 6, "schedule": inner})


def test_a_grid_reaches_into_a_nested_schedule():
    from isoprune.experiment.grid import expand

    around = {"name": "warm_up", "rise": 1, "schedule": "step_decay"}
    table = config(retrain={"epochs": 4, "lr": 0.01, "schedule": around})
    table["study"] = {"retrain.schedule.schedule.gamma": [0.1, 0.5]}
    made = [
        resolve(one).retrain.schedule.options["schedule"]["gamma"]
        for one in expand(table, name="g").experiments
    ]
    assert made == [0.1, 0.5]
