"""What is measured of a stage: histograms of singular values, and on which samples."""

from __future__ import annotations

import pytest
import torch

from isoprune.experiment import seeds
from isoprune.experiment.config import Measuring
from isoprune.experiment.measure import LOG10_RANGE, histogram
from isoprune.types.samples import Split


def test_histogram_counts_every_value_and_clips_to_the_outer_bins():
    low, high = LOG10_RANGE
    sigma = torch.tensor(
        [[10.0**high * 5, 10.0**high, 1.0, 10.0**low, 10.0**low / 5, 0.0]], dtype=torch.float64
    )
    got = histogram(sigma, bins=8)
    assert got.edges == pytest.approx([low + i for i in range(9)], abs=1e-12)
    assert got.counts == [3, 0, 0, 0, 0, 0, 1, 2]
    assert histogram(sigma, bins=1).counts == [6]


def test_values_around_one_share_a_bin():
    """An isometry's values are 1 up to rounding, above and below: no edge may part them."""
    sigma = torch.tensor([[1 - 1e-7, 1.0, 1 + 1e-7]], dtype=torch.float64)
    assert max(histogram(sigma, bins=Measuring().bins).counts) == 3


def test_batches_are_the_same_at_every_pass_and_hold_each_sample_once():
    split = Split(torch.arange(10.0)[:, None], torch.arange(10))
    batches = seeds.SeededBatches(split, 4, seed=0)
    first, second = ([t for _, t in batches] for _ in range(2))
    assert [len(t) for t in first] == [4, 4, 2]
    assert torch.equal(torch.cat(first), torch.cat(second))
    assert torch.cat(first).sort().values.tolist() == list(range(10))
    assert len(list(seeds.SeededBatches(split, 4, seed=0, most=2))) == 2


def test_fewer_samples_are_the_first_of_more():
    split = Split(torch.arange(20.0)[:, None], torch.arange(20))
    few, more = (seeds.jsv_inputs(split, n, seed=3) for n in (5, 9))
    assert torch.equal(few, more[:5])
