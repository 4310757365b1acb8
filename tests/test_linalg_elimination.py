"""Backward elimination against slow refits and exhaustive search."""

from __future__ import annotations

import itertools

import pytest
import torch

from isoprune.linalg.elimination import Reader, eliminate

TAPS = {"one input a unit": [1] * 6, "three": [3] * 6, "unlike": [1, 2, 1, 3, 2, 1]}


def drawn(taps, outputs=5, seed=0, fixed=2, samples=60):
    """Return second moments, a map, and the unit of every input; the last inputs belong to none."""
    generator = torch.Generator().manual_seed(seed)
    n = sum(taps) + fixed
    mixing = torch.randn(n, n, generator=generator, dtype=torch.float64)
    X = torch.randn(samples, n, generator=generator, dtype=torch.float64) @ mixing
    A = torch.randn(outputs, n, generator=generator, dtype=torch.float64)
    units = torch.cat(
        [torch.arange(len(taps)).repeat_interleave(torch.tensor(taps)), torch.full((fixed,), -1)]
    )
    return X.T @ X / samples, A, units


def refit(G, A, left):
    """Return the best map that is zero where ``left`` is False, and its error, by solving anew."""
    new = torch.zeros_like(A)
    new[:, left] = torch.linalg.solve(G[left][:, left], (A @ G)[:, left].T).T
    return new, ((new - A) @ G * (new - A)).sum()


def error_of(problems, kept):
    return float(sum(refit(G, A, (units < 0) | kept[units.clamp_min(0)])[1] for G, A, units in problems))


def readers_of(problems):
    return [Reader(*problem) for problem in problems]


@pytest.mark.parametrize("taps", TAPS.values(), ids=TAPS)
def test_the_map_is_that_of_solving_anew_whatever_went_and_came_back(taps):
    G, A, units = drawn(taps)
    reader = Reader(G, A, units)
    there = torch.ones(len(taps), dtype=torch.bool)
    for step, unit in (("remove_", 2), ("remove_", 0), ("remove_", 4), ("restore_", 0), ("remove_", 5)):
        getattr(reader, step)(unit)
        there[unit] = step == "restore_"
        left = (units < 0) | there[units.clamp_min(0)]
        want, _ = refit(G, A, left)
        torch.testing.assert_close(reader.A, want)
        inverse = torch.zeros_like(G)
        inverse[left.nonzero(), left.nonzero().T] = torch.linalg.inv(G[left][:, left])
        torch.testing.assert_close(reader.H, inverse)


@pytest.mark.parametrize(
    "taps", [[1] * 200, [3] * 70, [2, 150, 1, 3]], ids=["one input a unit", "three", "unlike"]
)
def test_downdates_of_many_inputs_are_those_of_solving_anew(taps):
    G, A, units = drawn(taps, samples=500)
    reader, there = Reader(G, A, units), torch.ones(len(taps), dtype=torch.bool)
    for unit in range(len(taps) - 1):
        losses = reader.losses(there)
        reader.remove_(unit)
        before, there[unit] = there.clone(), False
        left = (units < 0) | there[units.clamp_min(0)]
        if unit % 20 and unit < len(taps) - 3:
            continue
        new, error = refit(G, A, left)
        torch.testing.assert_close(reader.A, new)
        rise = error - refit(G, A, (units < 0) | before[units.clamp_min(0)])[1]
        torch.testing.assert_close(losses[unit], rise)
    inverse = torch.zeros_like(G)
    inverse[left.nonzero(), left.nonzero().T] = torch.linalg.inv(G[left][:, left])
    torch.testing.assert_close(reader.H, inverse)
    assert (reader.H[~left] == 0).all()


@pytest.mark.parametrize("taps", TAPS.values(), ids=TAPS)
def test_losses_and_gains_are_differences_of_errors(taps):
    problem = drawn(taps)
    reader = Reader(*problem)
    there = torch.ones(len(taps), dtype=torch.bool)
    for unit in (1, 3):
        reader.remove_(unit)
        there[unit] = False
    now = error_of([problem], there)
    losses, gains = reader.losses(there), reader.gains(there)
    for unit in range(len(taps)):
        other = there.clone()
        other[unit] = ~other[unit]
        rise = error_of([problem], other) - now
        got = losses[unit] if there[unit] else -gains[unit]
        torch.testing.assert_close(float(got), rise)
    assert (losses[~there] == 0).all()
    assert (gains[there] == 0).all()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("keep", [1, 2, 4])
def test_elimination_with_swaps_comes_near_the_best_of_all_choices(seed, keep):
    problems = [drawn([1] * 6, seed=seed), drawn([2] * 6, outputs=3, seed=seed + 50)]
    chosen = eliminate(readers_of(problems), 6, keep)
    sets = (torch.zeros(6, dtype=torch.bool).index_fill(0, torch.tensor(c), True)
            for c in itertools.combinations(range(6), keep))  # fmt: skip
    best = min(error_of(problems, kept) for kept in sets)
    assert int(chosen.kept.sum()) == keep
    assert error_of(problems, chosen.kept) <= 1.1 * best


def test_where_one_unit_goes_the_choice_is_the_best_of_all():
    problems = [drawn([2] * 5, seed=3)]
    chosen = eliminate(readers_of(problems), 5, 4)
    errors = [error_of(problems, ~torch.nn.functional.one_hot(torch.tensor(i), 5).bool()) for i in range(5)]
    assert (~chosen.kept).nonzero().item() == errors.index(min(errors))
    torch.testing.assert_close(chosen.errors, [min(errors)])


@pytest.mark.parametrize("seed", range(8))
def test_swaps_never_raise_the_error_and_errors_are_those_of_refits(seed):
    problems = [drawn([1] * 12, outputs=4, seed=seed)]
    plain = eliminate(readers_of(problems), 12, 4, swaps=0)
    swapped = eliminate(readers_of(problems), 12, 4)
    torch.testing.assert_close(plain.errors[-1], error_of(problems, plain.kept))
    assert error_of(problems, swapped.kept) <= plain.errors[-1] * (1 + 1e-12)
    assert plain.errors == sorted(plain.errors)


def test_a_unit_that_others_make_up_for_goes_first_and_costs_nothing():
    G, A, _ = drawn([1] * 5, fixed=0)
    mix = torch.cat([torch.eye(5, dtype=torch.float64), torch.ones(1, 5, dtype=torch.float64) / 3])
    G = mix @ G @ mix.T + 1e-9 * torch.eye(6, dtype=torch.float64)  # the sixth is a mean of the others
    A = torch.cat([A, torch.ones(len(A), 1, dtype=torch.float64)], 1)
    chosen = eliminate([Reader(G, A, torch.arange(6))], 6, 5)
    assert chosen.errors[0] < 1e-7


def test_dead_units_go_first_and_one_unit_can_be_left():
    G, A, units = drawn([1] * 5, fixed=0)
    G[2], G[:, 2] = 0, 0
    G = G + 1e-8 * torch.eye(5, dtype=torch.float64)
    chosen = eliminate([Reader(G, A, units)], 5, 1)
    assert chosen.order[0] == 2
    assert int(chosen.kept.sum()) == 1
    assert all(torch.isfinite(torch.tensor(chosen.errors)))


def test_the_choice_follows_the_order_of_units():
    G, A, units = drawn([2] * 6, fixed=0, seed=4)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    columns = torch.cat([torch.arange(12).view(6, 2)[unit] for unit in order])
    one = eliminate([Reader(G, A, units)], 6, 3)
    two = eliminate([Reader(G[columns][:, columns], A[:, columns], units)], 6, 3)
    assert torch.equal(two.kept, one.kept[order])
    assert [int(order[u]) for u in two.order] == one.order


def test_a_unit_that_nothing_reads_goes_first():
    G, A, _ = drawn([1] * 4, fixed=0)
    chosen = eliminate([Reader(G, A, torch.tensor([0, 1, 3, 4]))], 5, 3)
    assert chosen.order[0] == 2
    assert chosen.errors[0] == 0


@pytest.mark.parametrize("taps", TAPS.values(), ids=TAPS)
def test_a_refit_to_given_units_is_that_of_solving_anew_and_of_going_one_by_one(taps):
    G, A, units = drawn(taps)
    there = torch.tensor([True, False, True, True, False, True])
    at_once, step_by_step = Reader(G, A, units), Reader(G, A, units)
    at_once.keep_(there)
    for unit in (1, 4):
        step_by_step.remove_(unit)
    torch.testing.assert_close(at_once.A, refit(G, A, (units < 0) | there[units.clamp_min(0)])[0])
    torch.testing.assert_close(at_once.A, step_by_step.A)
    torch.testing.assert_close(at_once.H, step_by_step.H)
