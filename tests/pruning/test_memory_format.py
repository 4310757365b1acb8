"""Weights that lie channels last do so in the smaller network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import isoprune


def conv(dims, *sizes, **options):
    return (nn.Conv2d if dims == 2 else nn.Conv3d)(*sizes, 3, padding=1, **options)


def network(dims, **options):
    return nn.Sequential(
        conv(dims, 3, 16), nn.ReLU(), conv(dims, 16, 16, **options), nn.ReLU(), conv(dims, 16, 2)
    )


@pytest.mark.parametrize(
    ("dims", "layout", "options"),
    [
        (2, torch.channels_last, {}),
        (2, torch.channels_last, {"groups": 4}),
        (2, torch.channels_last, {"bias": False}),
        (3, torch.channels_last_3d, {}),
        (2, torch.contiguous_format, {}),
    ],
)
def test_the_layout_of_weights_is_kept(dims, layout, options):
    model = network(dims, **options).to(memory_format=layout)
    x = torch.randn(2, 3, *(6,) * dims)
    small = isoprune.prune(model, x, 0.5).model
    for part in small[::2]:
        assert part.weight.is_contiguous(memory_format=layout)
        assert part.weight.numel() < 16 * 16 * 3**dims
    copied = isoprune.prune(model, x, 0).model
    assert all(part.weight.is_contiguous(memory_format=layout) for part in copied[::2])


@pytest.mark.parametrize("groups", [2, 4])
def test_a_tensor_with_another_part_gone_in_every_group_lies_as_it_did(groups):
    """What is picked element by element comes out with its dimensions in another order of memory."""
    torch.manual_seed(0)
    first, second = conv(2, 3, 16), conv(2, 16, 16, groups=groups)
    model = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), conv(2, 16, 2))
    small = isoprune.prune(model, torch.randn(2, 3, 6, 6), 0.5, criterion="random").model
    assert small[2].weight.shape[:2] != second.weight.shape[:2]
    assert all(part.weight.is_contiguous() for part in small[::2])
