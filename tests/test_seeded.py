"""torch's global generators, lent at a seed and given back."""

from __future__ import annotations

import pytest
import torch

from isoprune.types.seeded import lent_generators


@pytest.fixture(autouse=True)
def _generators_are_given_back():
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before)


def test_a_lent_generator_draws_by_its_seed():
    with lent_generators(5) as seed_:
        first = torch.rand(3)
        seed_(5)
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.rand(3, generator=torch.Generator().manual_seed(5)), first)


def test_without_a_seed_it_goes_on_from_where_it_is():
    state = torch.get_rng_state()
    with lent_generators():
        drawn = torch.rand(3)
    torch.set_rng_state(state)
    with lent_generators():
        assert torch.equal(torch.rand(3), drawn)


def _failing() -> None:
    with lent_generators(5):
        torch.rand(3)
        raise KeyError


def test_it_is_given_back_after_an_error():
    with pytest.raises(KeyError):
        _failing()
