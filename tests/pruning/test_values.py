"""Operations whose results depend on values: recorded with values, and right on other values too."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from isoprune import prune
from isoprune.graph import trace
from isoprune.types import IsopruneError
from pruning.oracle import assert_right


class Body(nn.Module):
    """Two layers around `inside(self, hidden, *inputs)`, of which the second reads what that gives."""

    def __init__(self, inside, width=16):
        super().__init__()
        self.first, self.last = nn.Linear(8, width), nn.Linear(width, 4)
        self.inside = inside

    def forward(self, x, *others):
        return self.last(self.inside(self.first(x).relu(), x, *others))


def written(h, x):
    h = h.clone()
    h[x[..., 0] > 0] = 0.5
    return h


def scattered(h, x):
    out = h.new_zeros(h.shape)
    rows = (x[:, 0] > 0).nonzero()[:, 0]
    out[rows] = h[rows] * 2
    return out


def tokens(h, x):
    best = x.sum(-1).topk(3, dim=0).indices
    return h.gather(0, best[:, None].expand(-1, h.size(1)))


def experts(h, x):
    out = torch.zeros_like(h)
    for e in range(3):
        rows = torch.where(x.argmax(-1) % 3 == e)[0]
        out.index_add_(0, rows, h[rows] * (e + 1))
    return out


def overlapping(h, x):
    import torchvision

    corner = x[:, :2].abs()
    boxes = torch.cat([corner, corner + 1 + x[:, 2:4].abs()], 1)
    return h[torchvision.ops.nms(boxes, x[:, 4], 0.3)]


def lengths(h, x):
    first = (x[:4, 0] > 0).long() + 1
    return torch.stack([part.sum(0) for part in h.split([*first.tolist(), 10 - int(first.sum())])])


INSIDE = {
    "boolean index": lambda h, x: h[x[..., 0] > 0],
    "boolean index of some dimensions": lambda h, x: h.reshape(2, 5, -1)[x.reshape(2, 5, 8)[..., 1] > 0],
    "nonzero": lambda h, x: h[(x[:, 0] > 0).nonzero(as_tuple=True)],
    "index_select": lambda h, x: h.index_select(0, (x[:, 0] > 0).nonzero().flatten()),
    "boolean assignment": written,
    "assignment by position": scattered,
    "topk of tokens": tokens,
    "experts": experts,
    "nms": overlapping,
    "unique": lambda h, x: h[torch.unique(x.argmax(-1))],
    "repeat_interleave": lambda h, x: h.repeat_interleave((x[:, 0] > 0).long() + 1, 0),
    "lengths": lengths,
    "one-hot": lambda h, x: F.one_hot(x.argmax(-1)).to(h).t() @ h,
    "bincount": lambda h, x: h * torch.bincount(x.argmax(-1), minlength=4)[0],
}  # fmt: skip


@pytest.mark.parametrize("inside", INSIDE.values(), ids=INSIDE)
def test_what_depends_on_values_is_right_on_other_values(inside):
    torch.manual_seed(0)
    model, x = Body(inside).eval(), torch.randn(10, 8)
    pruned = prune(model, x, ratio=0.5)
    assert pruned.costs.ratios["filters"] > 0.45
    assert_right(model, pruned, (x,), (x.flip(0) * 2,), (torch.randn(10, 8),))


GIVEN = {
    "boolean index": (lambda h, _, keep: h[keep], lambda: torch.rand(10) > 0.3),
    "sparse matrix": (
        lambda h, _, a: torch.sparse.mm(a.to(h.dtype), h),
        lambda: (torch.rand(10, 10) > 0.6).float().to_sparse(),
    ),
    "sparse rows": (
        lambda h, _, a: a.to(h.dtype) @ h, lambda: (torch.rand(10, 10) > 0.6).float().to_sparse_csr()
    ),
    "edges": (
        lambda h, _, e: h.new_zeros(h.shape).index_add(0, e[1], h[e[0]]),
        lambda: torch.randint(0, 10, (2, 30)),
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize(("inside", "given"), GIVEN.values(), ids=GIVEN)
def test_positions_that_an_input_gives_are_right_for_others(inside, given):
    torch.manual_seed(0)
    model, x = Body(inside).eval(), torch.randn(10, 8)
    pruned = prune(model, (x, given()), ratio=0.5)
    assert pruned.costs.ratios["filters"] > 0.45
    assert_right(model, pruned, (x, given()), (x * 2, given()))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_packed_sequences_are_right_for_other_lengths(kind):
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.rnn = nn.Embedding(50, 16), kind(16, 24, batch_first=True)
            self.last = nn.Linear(24, 4)

        def forward(self, words, lengths):
            packed = nn.utils.rnn.pack_padded_sequence(
                self.embed(words), lengths, batch_first=True, enforce_sorted=False
            )
            hidden = self.rnn(packed)[1]
            return self.last((hidden[0] if isinstance(hidden, tuple) else hidden)[-1])

    torch.manual_seed(0)
    model, words = Packed().eval(), torch.randint(0, 50, (3, 7))
    pruned = prune(model, (words, torch.tensor([7, 5, 3])), ratio=0.5)
    assert pruned.costs.ratios["filters"] > 0.3
    assert_right(model, pruned, (words, torch.tensor([7, 5, 3])), (words, torch.tensor([2, 7, 6])))


def test_istft_is_right_on_other_signals():
    class Filtered(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("window", torch.hann_window(32))
            self.first, self.last = nn.Linear(17, 32), nn.Linear(32, 17)

        def forward(self, x):
            z = torch.stft(x, 32, 8, window=self.window, return_complex=True)
            gains = self.last(self.first(z.abs().mT).relu()).mT.sigmoid()
            return torch.istft(z * gains, 32, 8, window=self.window)

    torch.manual_seed(0)
    model, x = Filtered().eval(), torch.randn(2, 160)
    pruned = prune(model, x, ratio=0.5)
    assert_right(model, pruned, (x,), (torch.randn(2, 160),))


def test_distributions_check_their_arguments_and_are_right():
    class Policy(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.mean, self.choice = nn.Linear(8, 16), nn.Linear(16, 4), nn.Linear(16, 3)

        def forward(self, x):
            x = self.first(x).relu()
            normal = torch.distributions.Normal(self.mean(x), 1.0)
            return normal.mean + normal.entropy(), torch.distributions.Categorical(
                logits=self.choice(x)
            ).probs

    torch.manual_seed(0)
    model, x = Policy().eval(), torch.randn(3, 8)
    pruned = prune(model, x, ratio=0.5)
    assert_right(model, pruned, (x,), (x * 3,))


def test_a_network_that_reads_no_values_is_not_computed():
    graph = trace(Body(lambda h, _: h).eval(), torch.randn(10, 8))
    assert not graph.recording.passes[0].values
    assert not graph.recording.passes[0].reads


def test_channels_picked_by_values_stay_and_are_named():
    def inside(h, x):
        first = int(x[0].argmax())
        return h[:, first : first + 2].repeat(1, 8)

    graph = trace(Body(inside).eval(), torch.randn(10, 8))
    assert not graph.groups
    assert "slice in the network cuts them at a value that was read" in {f.reason for f in graph.frozen}


def test_values_picked_over_all_channels_are_refused_by_name():
    def inside(h, x):
        return h.masked_select(x[:, :1] > 0)[:16].repeat(10, 1)

    with pytest.raises(IsopruneError, match=r"Nothing was removed of Body.*masked_select in the network"):
        prune(Body(inside).eval(), torch.randn(10, 8), ratio=0.5)


class Pasted(nn.Module):
    """Writes a map, as far as a number made of values says, into a canvas of zeros (Mask R-CNN)."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 1, 1)

    def forward(self, x):
        mask = self.b(self.a(x).relu())[0, 0].sigmoid()
        rows = int((mask > -1).sum() > 0) + 3
        canvas = torch.zeros(6, 1)
        canvas[1 : 1 + rows] = mask[:rows, :1]
        return canvas


def test_a_constant_is_compared_as_it_was_before_something_was_written_into_it():
    torch.manual_seed(0)
    small = prune(Pasted().eval(), torch.randn(1, 3, 8, 8), 0.5)
    assert small.model.a.out_channels == 4
