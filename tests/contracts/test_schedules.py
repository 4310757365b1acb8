"""What every schedule promises, checked on every entry of the table."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
import typing
from itertools import pairwise

import pytest

from isoprune.methods.schedules import SCHEDULES, build
from isoprune.types import IsopruneError
from isoprune.types.method import method_of

EPOCHS = 30
EVERY = [
    ("constant", {}),
    ("step_decay", {}),
    ("step_decay", {"milestones": [10, 20], "gamma": 0.5}),
    ("halving", {"stages": 3}),
    ("linear", {}),
    ("linear", {"floor": 0.1}),
    ("cosine", {}),
    ("cosine", {"floor": 1e-3}),
    ("sgdr", {"T_0": 10}),
    ("sgdr", {"T_0": 1 / 7, "T_mult": 2, "floor": 1e-3}),
    ("cyclical", {"step_size": 5}),
    ("cyclical", {"step_size": 0.07, "base": 0.1, "decay": 0.5}),
    ("one_cycle", {}),
    ("one_cycle", {"rise": 0.0, "end": 1.0}),
    ("warm_up", {"rise": 3, "schedule": "cosine"}),
    ("warm_up", {"rise": 0.15, "schedule": {"name": "step_decay", "milestones": [12]}, "curve": "cosine"}),
    ("warm_up", {"rise": 5, "schedule": {"name": "halving", "stages": 3}, "over": "whole"}),
    ("warm_up", {"rise": 5, "schedule": {"name": "warm_up", "rise": 5, "schedule": "constant"}}),
    ("lr_rewinding", {"dense_epochs": 50, "milestones": [25, 40]}),
    ("lr_rewinding", {"dense_epochs": 40, "schedule": "cosine"}),
    ("slr", {}),
    ("clr", {}),
]
# These do not begin at the learning rate that is given, or do not fall all the way.
RISES = {"sgdr", "cyclical", "one_cycle", "warm_up", "lr_rewinding", "slr", "clr"}

every = pytest.mark.parametrize(("name", "options"), EVERY)


def test_every_schedule_is_tried():
    assert {name for name, _ in EVERY} == set(SCHEDULES)


def test_the_table_knows_functions_by_their_names_and_their_options_by_keyword():
    for name, make in SCHEDULES.items():
        assert make.__name__ == name
        assert method_of(make).kind == "schedule"
        assert all(p.kind is p.KEYWORD_ONLY for p in inspect.signature(make).parameters.values())


@every
def test_a_schedule_is_a_pure_picklable_function_on_the_unit_interval(name, options):
    schedule = build(name, epochs=EPOCHS, **options)
    points = [i / 997 for i in range(998)]
    factors = [schedule(p) for p in points]
    assert factors == [schedule(p) for p in points]
    assert factors == [schedule(p) for p in reversed(points)][::-1]
    assert factors == [pickle.loads(pickle.dumps(schedule))(p) for p in points]
    assert all(type(f) is float for f in factors)
    # At the very end, which no step reaches, a rate may be zero.
    assert all(0 < f <= 1 for f in factors[:-1])
    assert 0 <= factors[-1] <= 1
    if name not in RISES:
        assert factors[0] == 1
        assert all(a >= b for a, b in pairwise(factors))


@every
def test_a_schedule_is_frozen_data_equal_to_one_made_the_same_way(name, options):
    schedule = build(name, epochs=EPOCHS, **options)
    again = build(name, epochs=EPOCHS, **options)
    assert schedule == again
    assert hash(schedule) == hash(again)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(schedule, dataclasses.fields(schedule)[0].name, None)


@every
def test_the_options_are_left_as_they_were(name, options):
    before = repr(options)
    build(name, epochs=EPOCHS, **options)
    assert repr(options) == before


@pytest.mark.parametrize("name", SCHEDULES)
def test_unknown_options_are_refused_with_the_known_ones(name):
    options = next(o for n, o in EVERY if n == name)
    with pytest.raises(IsopruneError, match=f"Schedule '{name}': .*'colour'. Its options: "):
        build(name, epochs=EPOCHS, **options, colour="red")


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
def test_no_number_makes_a_schedule_that_is_not_one(name, bad):
    """Every option that takes a float, one after the other."""
    options = next(o for n, o in EVERY if n == name)
    hints = typing.get_type_hints(SCHEDULES[name])
    for option in [o for o, hint in hints.items() if o != "epochs" and hint in (float, int | float)]:
        with pytest.raises(IsopruneError, match=option if option != "div" else "div = "):
            build(name, epochs=EPOCHS, **(options | {option: bad}))
