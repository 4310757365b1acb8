"""Optimal transport: marginals are met, and the cost is that of an assignment of equal parts."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from isoprune.linalg.transport import transport_plan
from isoprune.types import IsopruneError


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_equal_parts(costs, sources, targets):
    """Return the least cost where masses are whole numbers: every unit of mass is assigned to a place."""
    parts = costs.repeat_interleave(sources, 0).repeat_interleave(targets, 1)
    rows, columns = linear_sum_assignment(parts.numpy())
    return float(parts[rows, columns].sum() / len(parts))


MASSES = {
    "one to one": ([1] * 6, [1] * 6),
    "more to fewer": ([1] * 9, [4, 2, 3]),
    "uneven": ([5, 1, 3, 3], [2, 6, 1, 3]),
    "one target": ([2, 1, 4], [7]),
    "a target of no mass": ([2, 2], [1, 0, 3]),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("masses", MASSES.values(), ids=MASSES)
def test_the_plan_meets_its_marginals_and_costs_what_the_oracle_does(masses, seed):
    sources, targets = (torch.tensor(m) for m in masses)
    costs, total = drawn(len(sources), len(targets), seed=seed), int(sources.sum())
    plan = transport_plan(costs, sources.double(), targets.double())
    assert (plan >= 0).all()
    torch.testing.assert_close(plan.sum(1), sources / total, check_dtype=False)
    torch.testing.assert_close(plan.sum(0), targets / total, check_dtype=False)
    torch.testing.assert_close(float((plan * costs).sum()), by_equal_parts(costs, sources, targets))
    assert int((plan > 1e-12).sum()) <= len(sources) + len(targets) - 1


def test_masses_need_not_have_one_total_and_the_unit_of_costs_does_not_matter():
    costs, a, b = drawn(7, 3), drawn(7, seed=1), drawn(3, seed=2)
    torch.testing.assert_close(transport_plan(costs, 5 * a, b / 3), transport_plan(1e6 * costs, a, b))


def test_the_plan_follows_the_order_of_sources_and_targets():
    costs, a, b = drawn(7, 3), drawn(7, seed=1), drawn(3, seed=2)
    rows, columns = torch.randperm(7), torch.tensor([2, 0, 1])
    moved = transport_plan(costs[rows][:, columns], a[rows], b[columns])
    torch.testing.assert_close(moved, transport_plan(costs, a, b)[rows][:, columns])


def test_on_a_line_it_is_the_plan_that_keeps_the_order():
    """For points on a line sorted masses are transported in order: the closed form of one dimension."""
    x, y = torch.tensor([0.0, 1.0, 2.0, 5.0]).double(), torch.tensor([0.5, 4.0]).double()
    plan = transport_plan((x[:, None] - y).square(), torch.ones(4), torch.tensor([3.0, 1.0]))
    want = torch.tensor([[1, 0], [1, 0], [1, 0], [0, 1]]).double() / 4
    torch.testing.assert_close(plan, want)


@pytest.mark.parametrize(
    ("costs", "masses", "says"),
    [
        (torch.ones(2, 2), torch.tensor([0.0, 0.0]), "Masses to transport must be finite, none below zero"),
        (torch.ones(2, 2), torch.tensor([-1.0, 2.0]), "Masses to transport must be finite, none below zero"),
        (torch.full((2, 2), torch.nan), torch.ones(2), "A cost of transport is NaN or infinite"),
    ],
)
def test_what_has_no_plan_is_refused(costs, masses, says):
    with pytest.raises(IsopruneError, match=says):
        transport_plan(costs, torch.ones(2), masses)
