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


class Turned(nn.Module):
    """Queries turned in pairs, whose width must be even; what comes out has any width."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.width = 2, 8
        self.embed, self.out, self.head = nn.Embedding(20, 16), nn.Linear(16, 16), nn.Linear(16, 20)
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.register_buffer("turn", torch.polar(torch.ones(12, 4), torch.rand(12, 4)))

    def turned(self, x: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * self.turn[: x.size(1), None]).flatten(3).transpose(1, 2)

    def forward(self, words: Tensor) -> Tensor:
        x = self.embed(words)
        b, n, _ = x.shape
        query, key, value = (
            m(x).view(b, n, self.heads, self.width) for m in (self.query, self.key, self.value)
        )
        y = F.scaled_dot_product_attention(self.turned(query), self.turned(key), value.transpose(1, 2))
        return self.head(x + self.out(y.transpose(1, 2).reshape(b, n, -1)))


@pytest.mark.parametrize("ratio", [0.3, 0.5])
def test_rotary_attention_over_tokens_loses_the_width_of_its_residual_stream(ratio):
    torch.manual_seed(0)
    result = isoprune.prune(Turned(), torch.randint(0, 20, (2, 5)), ratio)
    assert result.model.embed.embedding_dim == {0.3: 11, 0.5: 8}[ratio]
    assert result.model.query.out_features % 4 == 0
    assert result.model.turn.size(0) == 12
    result.model(torch.randint(0, 20, (1, 12)))


@pytest.mark.parametrize("seed", range(4))
def test_a_scale_by_the_width_is_made_up_for_in_both_numbers_of_a_pair(seed):
    torch.manual_seed(seed)
    model, words = Turned().eval(), torch.randint(0, 20, (2, 5))
    small = isoprune.prune(model, words, {"query": 0.5, "value": 0.5}).model
    assert small.query.out_features == small.value.out_features == 8
    assert small.turn.shape == (12, 2)
    for name in ("query", "key"):  # each takes half of the factor on query times key: 8 numbers a head were 4
        made_up = model.get_submodule(name).bias * (4 / 8) ** 0.25
        assert torch.isin(small.get_submodule(name).bias, made_up).all()


def test_complex_weights_are_scored_by_their_absolute_values():
    class Complex(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(8, 6, dtype=torch.cfloat), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x.to(torch.cfloat)).abs())

    model = Complex()
    with torch.no_grad():
        model.first.weight[[1, 4, 5]] *= 0.01
    assert isoprune.prune(model, torch.randn(3, 8), 0.5).plan.removed == {"first": (1, 4, 5)}
