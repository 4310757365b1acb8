"""Scratch: the distribution of torch's own initialisation, from the generator alone."""

from __future__ import annotations

import pytest
import torch
from repair_networks import run
from torch import nn

from isoprune.methods.repairs import scratch
from isoprune.types import IsopruneError


def repair(net, seed=0):
    return run(scratch, net, seed)


def test_draws_torchs_default_scheme_and_resets_batchnorm():
    net = nn.Sequential(
        nn.Linear(400, 300), nn.BatchNorm1d(300), nn.LayerNorm(300), nn.MultiheadAttention(300, 3)
    )
    for tensor in [*net.parameters(), *net.buffers()]:
        tensor.data.fill_(7)
    new = repair(net)
    # Uniform on +-1/sqrt(fan_in): its standard deviation is that over sqrt(3).
    bound = 400**-0.5
    weight = new[0].weight.detach()
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)
    assert new[0].bias.abs().max() <= bound
    assert new[0].bias.std() > 0
    norm = new[1]
    assert (norm.weight == 1).all()
    assert (norm.bias == 0).all()
    assert (norm.running_mean == 0).all()
    assert (norm.running_var == 1).all()
    assert norm.num_batches_tracked == 0
    assert (new[2].weight == 1).all()
    xavier = (6 / (900 + 300)) ** 0.5
    assert new[3].in_proj_weight.abs().max() <= xavier
    assert new[3].in_proj_weight.std().item() == pytest.approx(xavier / 3**0.5, rel=0.01)


def test_equals_building_the_network_under_that_seed():
    net = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    new = repair(net, seed=3)
    seed = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(3)))
    with torch.random.fork_rng():
        torch.random.manual_seed(seed)
        want = nn.ModuleList([nn.Linear(4, 3), nn.Linear(5, 4)])  # children last to first
    assert torch.equal(new[1].weight, want[0].weight)
    assert torch.equal(new[0].weight, want[1].weight)


def test_does_not_look_at_the_trained_weights():
    a, b = (nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)) for _ in range(2))
    for x, y in zip(repair(a).state_dict().values(), repair(b).state_dict().values(), strict=True):
        assert torch.equal(x, y)


def test_parameter_that_nothing_resets_is_refused_by_name():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

    with pytest.raises(IsopruneError, match=r"Cannot draw 1.scale afresh.*reset_parameters"):
        repair(nn.Sequential(nn.Linear(3, 3), Scaled()))
