"""Random networks, masked at every grain and trained: nothing comes back; channels equal shrunk ones."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import HealthCheck, event, given, settings

import isoprune
from isoprune.pruning.mask import check_masks, harden, masks_of
from isoprune.types import IsopruneError
from pruning.random_networks import draws
from pruning.test_mask import GRAINS, trained
from pruning.test_random_networks import built

slow = [HealthCheck.too_slow, HealthCheck.data_too_large]


def check(draw, steps):
    model, x = built(draw)
    for grain in GRAINS:
        ratio = None if grain == "2:4" else draw["ratio"]
        try:
            pruned = isoprune.prune(
                model, x, ratio, grain=grain, mask=True, criterion="random", seed=draw["seed"]
            )
        except IsopruneError as error:
            if "Nothing was removed" not in str(error):
                raise
            event(f"{grain}: nothing could go")
            continue
        held = masks_of(pruned.model)
        if grain == "channel" and not pruned.proof.statistics:
            small = isoprune.shrink(pruned)
            torch.testing.assert_close(small.model(x), pruned.model(x), rtol=1e-8, atol=1e-9)
            event("masked channels compared with the shrunk network")
        net = trained(copy.deepcopy(pruned.model).train(), x, steps)
        check_masks(net, held)
        plain = dict(harden(net).named_parameters())
        assert not any(plain[name][~kept].any() for name, kept in held.items() if name in plain)


@given(draws)
@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=slow)
def test_no_masked_weight_comes_back(draw):
    check(draw, 5)


@pytest.mark.matrix
@given(draws)
@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=slow)
def test_no_masked_weight_of_fifty_networks_comes_back_in_ten_steps(draw):
    check(draw, 10)


@pytest.mark.long
@given(draws)
@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=slow)
def test_no_masked_weight_of_two_hundred_networks_comes_back_in_twenty_steps(draw):
    check(draw, 20)
