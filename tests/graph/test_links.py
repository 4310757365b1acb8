"""Widths that a forward may want equal: tried where they can help, let go where they do not."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import isoprune


class Packed(nn.Module):
    """Queries, keys and values of one layer, reshaped to the width of what came in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.width = heads, width // heads
        self.embed = nn.Linear(8, width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        b, n, d = x.shape
        parts = (t.view(b, n, self.heads, self.width).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        y = F.scaled_dot_product_attention(*parts)
        return self.head(x + self.out(y.transpose(1, 2).reshape(b, n, d)))


@pytest.mark.parametrize(
    ("width", "heads", "ratio"), [(16, 4, 0.3), (16, 4, 0.1), (24, 3, 0.4), (32, 8, 0.6)]
)
def test_packed_attention_keeps_as_many_channels_as_it_reads_at_any_ratio(width, heads, ratio):
    small = isoprune.prune(Packed(width, heads), torch.randn(2, 5, 8), ratio).model
    kept = small.embed.out_features
    assert kept == small.qkv.out_features / 3 == small.out.in_features
    assert kept % heads == 0
    assert width * (1 - ratio) - heads < kept <= width * (1 - ratio) or kept == heads


class Pieces(nn.Module):
    """A layer as wide as its input, cut into pieces of a written size: their number stays."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x).relu()).relu()
        return self.head(y.view(-1, 2, 8).flip(1).reshape(-1, 16))


def test_a_link_that_did_not_help_keeps_nothing():
    result = isoprune.prune(Pieces(), torch.randn(3, 8), 0.5)
    assert result.model.first.out_features == 8  # free once it need not balance with what is fixed
    assert result.model.second.out_features == 16
    assert not result.spared


class Across(nn.Module):
    """Attention of torch's layer over memory that is learned: its places can go as channels do."""

    def __init__(self, residual: bool) -> None:
        super().__init__()
        self.embed, self.head, self.residual = nn.Linear(8, 16), nn.Linear(16, 4), residual
        self.memory = nn.Parameter(torch.randn(1, 3, 16))
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        memory = self.memory.expand(len(x), -1, -1)
        y = self.attention(x, memory, memory, need_weights=False)[0]
        return self.head(x + y if self.residual else y)


@pytest.mark.parametrize("residual", [False, True])
def test_attention_layer_makes_any_width_of_the_one_that_it_reads(residual):
    small = isoprune.prune(Across(residual), torch.randn(2, 5, 8), 0.3).model
    assert small.embed.out_features == small.attention.embed_dim == small.attention.out_proj.in_features == 8
    assert small.attention.out_proj.out_features == (8 if residual else 11)


@torch.no_grad()
def test_a_scale_by_the_width_is_made_up_for_where_places_of_the_memory_go_too():
    model = Across(residual=True).eval()
    result = isoprune.prune(model, torch.randn(2, 5, 8), {"embed": 0.3, "memory": 0.3})
    removed = result.plan.removed
    assert {"embed", "memory"} <= set(removed)
    parameters = dict(model.named_parameters())
    for name in set(removed) - {"memory"}:
        for member in result.graph.group(name).members:
            gone = torch.isin(member.channels, torch.tensor(removed[name]))
            parameters[member.tensor][gone.expand(parameters[member.tensor].shape)] = 0
    places = [i for i in range(3) if i not in removed["memory"]]
    model.memory = nn.Parameter(model.memory[:, places])
    x = torch.randn(3, 4, 8)
    torch.testing.assert_close(result.model(x), model(x))
