"""Lanczos' iteration: exact where the space ends, within the spectrum, the ends first."""

from __future__ import annotations

import pytest
import torch

from isoprune.linalg.lanczos import ritz_values
from isoprune.types import IsopruneError


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def symmetric(values, seed=0):
    Q = torch.linalg.qr(draw(len(values), len(values), seed=seed))[0]
    return Q @ torch.diag(values) @ Q.mT


@pytest.mark.parametrize("size", [1, 2, 9])
def test_as_many_steps_as_rows_give_the_whole_spectrum(size):
    A = symmetric(draw(size, seed=1))
    torch.testing.assert_close(ritz_values(lambda v: A @ v, draw(size), size + 5), torch.linalg.eigvalsh(A))


def test_few_distinct_eigenvalues_are_found_in_as_many_steps():
    values = torch.tensor([3.0] * 10 + [-1.0] * 15 + [0.0] * 5).double()
    A = symmetric(values)
    torch.testing.assert_close(
        ritz_values(lambda v: A @ v, draw(30), 20), torch.tensor([-1.0, 0.0, 3.0]).double()
    )


def test_an_eigenvector_gives_its_eigenvalue_alone():
    got = ritz_values(lambda v: 4 * v, draw(7), 5)
    torch.testing.assert_close(got, torch.tensor([4.0]).double())
    assert ritz_values(lambda v: 0 * v, draw(7), 5).tolist() == [0]


def test_values_lie_within_the_spectrum_and_the_ends_come_first():
    A = symmetric(torch.cat([torch.linspace(-1, 1, 60), torch.tensor([5.0, -4.0])]).double())
    last = 0.0
    for steps in (2, 4, 8, 12):
        got = ritz_values(lambda v: A @ v, draw(62), steps)
        assert len(got) == steps
        assert -4 - 1e-9 <= float(got[0]) <= float(got[-1]) <= 5 + 1e-9
        assert float(got[-1]) >= last - 1e-9
        last = float(got[-1])
    assert last == pytest.approx(5, abs=1e-6)


@pytest.mark.parametrize(
    ("start", "steps"), [(torch.zeros(3), 2), (torch.full((3,), torch.nan), 2), (torch.ones(3), 0)]
)
def test_a_start_of_nothing_is_refused(start, steps):
    with pytest.raises(IsopruneError, match=r"has steps = \d >= 1 and a start of finite norm"):
        ritz_values(lambda v: v, start.double(), steps)
