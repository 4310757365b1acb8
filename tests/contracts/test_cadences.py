"""What every cadence promises, checked on every entry of the table."""

from __future__ import annotations

import inspect
import math
import pickle
from itertools import pairwise

import pytest

from isoprune.methods.cadences import CADENCES, by_cycle, linear, of_what_is_left, one_shot, polynomial
from isoprune.types import IsopruneError
from isoprune.types.method import method_of

every = pytest.mark.parametrize("name", CADENCES)
every_size = pytest.mark.parametrize(("rounds", "ratio"), [(1, 0.5), (5, 0.9), (20, 0.99), (4, 0.0)])


@every
def test_the_table_knows_functions_by_their_names_and_signature(name):
    parameters = inspect.signature(CADENCES[name]).parameters
    assert CADENCES[name].__name__ == name
    assert {"rounds", "ratio"} <= set(parameters)
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters.values())
    assert method_of(CADENCES[name]).kind == "cadence"


@every
@every_size
def test_it_is_cumulative_and_ends_at_the_ratio_exactly(name, rounds, ratio):
    cadence = CADENCES[name](rounds=rounds, ratio=ratio)
    gone = [cadence(number) for number in range(rounds + 1)]
    assert all(type(r) is float for r in gone)
    assert gone[0] == 0
    assert gone[-1] == ratio
    assert all(a <= b < 1 for a, b in pairwise(gone))


@every
@every_size
def test_rounds_of_what_is_left_make_the_whole(name, rounds, ratio):
    cadence = CADENCES[name](rounds=rounds, ratio=ratio)
    left = math.prod(1 - of_what_is_left(cadence, number) for number in range(1, rounds + 1))
    assert left == pytest.approx(1 - ratio, abs=1e-12)
    assert all(0 <= of_what_is_left(cadence, number) < 1 for number in range(1, rounds + 1))


@every
def test_it_is_pure_picklable_frozen_data(name):
    cadence, again = (CADENCES[name](rounds=7, ratio=0.8) for _ in range(2))
    gone = [cadence(number) for number in range(8)]
    assert gone == [cadence(number) for number in reversed(range(8))][::-1]
    assert gone == [pickle.loads(pickle.dumps(cadence))(number) for number in range(8)]
    assert cadence == again
    assert hash(cadence) == hash(again)


@every
def test_what_is_no_cadence_is_refused(name):
    for ratio in (-0.1, 1.0, float("nan")):
        with pytest.raises(IsopruneError, match=r"ratio is .*, outside \[0, 1\)"):
            CADENCES[name](rounds=3, ratio=ratio)
    with pytest.raises(IsopruneError, match="rounds is 0"):
        CADENCES[name](rounds=0, ratio=0.5)
    for number in (-1, 4):
        with pytest.raises(IsopruneError, match=f"no round {number} of 3"):
            CADENCES[name](rounds=3, ratio=0.5)(number)


def test_by_cycle_takes_the_same_part_of_what_is_left_each_round():
    cadence = by_cycle(rounds=4, ratio=1 - 0.8**4)
    assert [of_what_is_left(cadence, number) for number in (1, 2, 3, 4)] == pytest.approx([0.2] * 4)


def test_linear_takes_equally_many_each_round():
    gone = [linear(rounds=4, ratio=0.8)(number) for number in range(5)]
    assert gone == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])


def test_polynomial_is_that_of_zhu_and_gupta():
    cadence = polynomial(rounds=10, ratio=0.9)
    for number in range(11):
        assert cadence(number) == pytest.approx(0.9 + (0 - 0.9) * (1 - number / 10) ** 3)
    line = polynomial(rounds=10, ratio=0.9, power=1.0)
    assert [line(t) for t in range(11)] == pytest.approx([linear(rounds=10, ratio=0.9)(t) for t in range(11)])
    with pytest.raises(IsopruneError, match=r"power is 0\.5"):
        polynomial(rounds=3, ratio=0.5, power=0.5)


def test_one_shot_leaves_later_rounds_nothing():
    cadence = one_shot(rounds=3, ratio=0.6)
    assert [of_what_is_left(cadence, number) for number in (1, 2, 3)] == pytest.approx([0.6, 0, 0])
