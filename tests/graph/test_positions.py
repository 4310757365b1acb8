"""Tables of positions that a call cuts to its length, and networks whose inputs are whole numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import isoprune

WORDS = torch.randint(0, 20, (2, 5), generator=torch.Generator().manual_seed(0))
LONGER = torch.randint(0, 20, (3, 11), generator=torch.Generator().manual_seed(1))


class Words(nn.Module):
    """Attention over tokens with a table of twelve positions, of which a call reads the first few."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.embed, self.head = nn.Embedding(20, 16), nn.Linear(16, 20)
        self.query, self.key, self.value, self.out = (nn.Linear(16, 16) for _ in range(4))
        self.table = nn.Parameter(torch.randn(12, 12 if how == "mask" else 16))
        self.register_buffer("fixed", self.table.detach().clone())

    def forward(self, words: Tensor) -> Tensor:
        n = words.size(1)
        x = self.embed(words)
        if self.how == "added":
            x = x + self.table[:n]
        elif self.how == "buffer":
            x = x * self.fixed[:n] + self.table[:n]
        query, keys = self.query(x), self.key(x)
        scores = query @ keys.mT / 4
        if self.how == "relative":  # what is read of the table depends on parameters alone
            scores = scores + query @ self.key(self.table[:n]).mT
        elif self.how == "mask":
            scores = scores + self.table[:n, :n] + self.fixed[:n, :n]
        return self.head(x + self.out(scores.softmax(-1) @ self.value(x)))


@pytest.mark.parametrize("length", [5, 6])
@pytest.mark.parametrize("how", ["added", "buffer", "relative", "mask"])
def test_positions_that_no_call_reads_stay_and_longer_inputs_run(how, length):
    dense = Words(how).eval()
    words = LONGER[:2, :length]
    result = isoprune.prune(dense, words, 0.5)
    small = result.model
    assert small.table.size(0) == 12
    assert small.embed.embedding_dim == small.query.out_features == 8
    parameters = {**dict(dense.named_parameters()), **dict(dense.named_buffers())}
    with torch.no_grad():
        for name, gone in result.plan.removed.items():
            for member in result.graph.group(name).members:
                tensor = parameters[member.tensor]
                tensor[torch.isin(member.channels, torch.tensor(gone)).expand(tensor.shape)] = 0
        torch.testing.assert_close(small(LONGER), dense(LONGER))


class Scored(nn.Module):
    """Returns a statistic of its last layer, and of a layer that another one reads."""

    def __init__(self, statistic) -> None:
        super().__init__()
        self.first, self.last, self.statistic = nn.Linear(8, 16), nn.Linear(16, 4), statistic

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.first(x).relu()
        return self.statistic(self.last(x)), x.mean()


@pytest.mark.parametrize(
    "statistic",
    [
        lambda y: y.mean(),
        lambda y: y.logsumexp(-1),
        lambda y: y.std(-1),
        lambda y: (y > 0).any(-1),
        lambda y: -(y.softmax(-1) * y.log_softmax(-1)).sum(-1),
        lambda y: y.amax(-1) * 2,
    ],
    ids=["mean", "energy", "std", "any", "entropy", "max"],
)
def test_scores_of_which_a_statistic_is_returned_stay(statistic):
    result = isoprune.prune(Scored(statistic).eval(), torch.randn(3, 8), 0.5)
    assert result.model.first.out_features == 8
    assert result.model.last.out_features == 4
    reasons = [f.reason for f in result.graph.frozen if f.tensor == "last.weight"]
    assert len(reasons) == 1
    assert reasons[0].startswith("the network's output is a statistic of them, by ")


@pytest.mark.parametrize("total", [lambda y: y.sum(-1), lambda y: y.norm(dim=-1)])
def test_a_sum_of_scores_is_the_same_without_those_that_are_zero(total):
    assert isoprune.prune(Scored(total).eval(), torch.randn(3, 8), 0.5).model.last.out_features == 2


@pytest.mark.parametrize(
    "draw", [lambda size: torch.normal(0.0, 1.0, size=size), lambda size: torch.randn(size)]
)
def test_draws_by_a_size_are_the_same_for_both(draw):
    class Noisy(Scored):
        def forward(self, x):
            x = self.first(x).relu()
            return self.last(x) + draw((len(x), 4))

    assert isoprune.prune(Noisy(None).eval(), torch.randn(3, 8), 0.5).model.first.out_features == 8


@pytest.mark.parametrize("ratio", [0.3, 0.5])
def test_channels_that_share_offsets_keep_equally_many(ratio):
    deformed = pytest.importorskip("torchvision.ops").DeformConv2d

    class Deformed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 16, 1), nn.Conv2d(6, 2, 1)
            self.offsets, self.mid = nn.Conv2d(16, 36, 1), deformed(16, 6, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x).relu()
            return self.last(self.mid(x, self.offsets(x)))

    result = isoprune.prune(Deformed().eval(), torch.randn(2, 3, 6, 6), ratio)
    gone = torch.tensor(result.plan.removed["first"])
    assert len(gone) == {0.3: 6, 0.5: 8}[ratio]
    assert int((gone < 8).sum()) == len(gone) // 2
