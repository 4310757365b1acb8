"""Channels of several filters, which a view makes of a wide layer, go; what was spared is reported."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from graph.small_networks import network
from isoprune.graph import trace
from isoprune.types import IsopruneError
from isoprune.verbs import prune
from pruning.oracle import difference, zeroed_reads
from pruning.split_networks import (
    Autoencoder,
    Maxout,
    ShuffledByHand,
    Summed,
    Unpatched,
    codes,
    generator,
    images,
)

# what goes of which group at ratio 0.5: (name, channels, gone), and the filters that the first layer keeps
CASES = {
    "generator": (generator, codes, ("0", 16, 8), 32),
    "generator with a norm of channels": (lambda: generator(nn.BatchNorm2d(16)), codes, ("0", 16, 8), 32),
    "generator with a norm of groups": (lambda: generator(nn.GroupNorm(4, 16)), codes, ("0", 16, 8), 32),
    "generator with a group a channel": (lambda: generator(nn.GroupNorm(16, 16)), codes, ("0", 16, 8), 32),
    "generator with a depthwise layer": (
        lambda: generator(nn.Conv2d(16, 16, 3, 1, 1, groups=16)), codes, ("0", 16, 8), 32,
    ),
    "generator with a grouped layer": (
        lambda: generator(nn.Conv2d(16, 16, 3, 1, 1, groups=4)), codes, ("0", 16, 8), 32,
    ),
    "one axis": (
        lambda: nn.Sequential(nn.Linear(12, 40), nn.Unflatten(1, (8, 5)), nn.Conv1d(8, 2, 3)),
        codes, ("0", 8, 4), 20,
    ),
    "autoencoder": (Autoencoder, images, ("up", 16, 8), 8),
    "pixel shuffle by hand": (ShuffledByHand, images, ("a", 4, 2), 8),
    "patches": (Unpatched, codes, ("up", 8, 4), 64),
    "sum with a convolution": (lambda: Summed(norm=False), codes, ("up", 16, 8), 32),
    "sum after a norm": (Summed, codes, ("up", 16, 8), 32),
    "pieces": (Maxout, codes, ("up", 8, 4), 16),
    "pieces of open width": (lambda: Maxout((4, -1), 1), codes, ("up", 8, 4), 16),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_channel_of_several_filters_goes_as_one(name):
    make, inputs, unit, filters = CASES[name]
    model, x = network((make, inputs))
    result = prune(model, x, 0.5)
    assert unit in result.costs.units
    assert next(iter(result.model.parameters())).shape[0] == filters
    assert difference(zeroed_reads(model, result.graph, result.plan), result.model, x) < 1e-12
    assert result.spared == ()


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_the_four_filters_of_a_channel_are_neighbours_and_read_by_one_channel_of_the_next(ratio):
    model, x = network((generator, codes))
    result = prune(model, x, ratio)
    gone = torch.tensor(result.plan.removed["0"])
    kept = torch.tensor([c for c in range(16) if c not in gone])
    rows = (4 * kept[:, None] + torch.arange(4)).flatten()
    torch.testing.assert_close(result.model[0].weight, model[0].weight[rows])
    # The oracle by hand: zero what the transposed convolution reads of the channels that went.
    with torch.no_grad():
        hidden = model[2](model[1](model[0](x)))
        hidden[:, gone] = 0
        hidden = model[4](model[3](hidden))
        hidden[:, list(result.plan.removed["3"])] = 0
        torch.testing.assert_close(result.model(x), model[5](hidden))


def test_the_last_channels_of_a_decoder_are_its_output_and_stay():
    model, x = network((lambda: nn.Sequential(nn.Linear(12, 64), nn.Unflatten(1, (16, 2, 2))), codes))
    with pytest.raises(IsopruneError, match=r"Nothing was removed of Sequential.* the network's output"):
        prune(model, x, 0.5)


def test_a_channel_count_that_is_written_into_the_forward_is_refused_by_name():
    model, x = network((lambda: Maxout((8, 4)), codes))
    with pytest.raises(IsopruneError, match=r"view in the network: sizes written into the forward"):
        prune(model, x, 0.5)


def test_filters_that_can_only_go_all_together_are_listed_with_the_reason():
    """Each channel meets the one two places on, and the one opposite, so all sixteen are one."""

    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.next, self.head = nn.Linear(12, 16), nn.Linear(16, 8), nn.Linear(8, 3)

        def forward(self, x):
            h = self.up(x)
            return self.head(self.next(torch.cat([h[:, 2:], h[:, :2]], 1) + h + h.flip(1)))

    graph = trace(*network((Turned, codes)))
    assert [g.name for g in graph.groups] == ["next"]
    assert [(f.tensor, f.channels) for f in graph.frozen if "none would be left" in f.reason] == [
        ("up.weight", 16)
    ]


def test_what_was_asked_and_lost_nothing_is_told_with_its_reason():
    model, x = network((lambda: generator(nn.GroupNorm(16, 16, affine=False)), codes))
    result = prune(model, x, 0.5)
    (spared,) = result.spared
    assert (spared.name, spared.size) == ("0", 16)
    assert "native_group_norm in 2 keeps equally many in each of 16 sets of 1" in spared.reason
    assert "0 lost nothing, though asked for: pruned.spared says why" in repr(result)


def three_layers():
    return nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise((12, 32, 16, 8, 2))))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"floor": 8}, "2: floor=8 keeps all of its 8"),
        ({"round_to": 8}, "2: its 8 are kept in multiples of round_to=8"),
        ({"ratio": {"0": 0.5, "2": 0.5}, "floor": 8}, "2: floor=8 keeps all of its 8"),
    ],
)
def test_an_option_that_keeps_all_of_a_group_is_named(options, reason):
    model, x = network((three_layers, codes))
    result = prune(model, x, **{"ratio": 0.5, **options})
    assert [str(s) for s in result.spared] == [reason]


def test_groups_of_which_nothing_was_asked_are_not_reported():
    model, x = network((generator, codes))
    assert prune(model, x, {"0": 0.5}).spared == ()
    assert prune(model, x, 0.5, scope="internal").spared == ()
