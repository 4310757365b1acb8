"""The user's network and random numbers are as they were; random forwards draw the same for both."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from isoprune.graph import trace
from isoprune.graph.draws import seeded_draws
from isoprune.graph.isolation import isolated
from isoprune.verbs import prune, verify


class Average(nn.Module):
    """Buffers that every forward changes."""

    def __init__(self):
        super().__init__()
        self.a, self.c = nn.Linear(8, 32), nn.Linear(32, 4)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("mean", torch.zeros(32))

    def forward(self, x):
        h = F.relu(self.a(x))
        self.calls += 1
        self.mean.mul_(0.9).add_(0.1 * h.mean(0))
        return self.c(h - self.mean)


class Cache(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.o = nn.Linear(8, 16), nn.Linear(16, 3)
        self.register_buffer("keys", torch.zeros(4, 10, 16))
        self.register_buffer("position", torch.tensor(0))

    def forward(self, x):
        h, p = F.relu(self.e(x)).unsqueeze(1), int(self.position)
        self.keys[:, p : p + 1] = h
        self.position += 1
        return self.o(self.keys[:, : p + 1].sum(1))


class Counting(nn.Module):
    """A counter that is no buffer, and a tensor that is an attribute."""

    def __init__(self):
        super().__init__()
        self.a, self.c, self.calls, self.seen = nn.Linear(8, 16), nn.Linear(16, 4), 0, [torch.zeros(4)]

    def forward(self, x):
        self.calls += 1
        y = self.c(F.relu(self.a(x)))
        self.seen[0].add_(y[0].detach())
        return y


def values(model):
    return [t.clone() for t in (*model.state_dict().values(), *getattr(model, "seen", ()))]


@pytest.mark.parametrize("kind", [Average, Cache, Counting])
def test_what_a_forward_changes_is_not_the_users(kind):
    model, x = kind().eval(), torch.randn(4, 8)
    before, given = values(model), x.clone()
    result = prune(model, x, 0.5)
    verify(result)
    trace(model, x)
    assert all(torch.equal(a, b) for a, b in zip(values(model), before, strict=True))
    assert getattr(model, "calls", 0) == 0
    assert getattr(result.model, "calls", 0) == 0
    assert torch.equal(x, given)


def part_of_a_view(keys, h):
    keys.flatten(0, 1)[: len(h)].copy_(h)


def summed_into(keys, h):
    keys[:, 0].add_(h)


def scattered(keys, h):
    keys.select(1, 2).index_copy_(0, torch.arange(len(h)), h)


@pytest.mark.parametrize("write", [part_of_a_view, summed_into, scattered])
def test_what_data_is_written_into_is_no_weight(write):
    """A product of it with a weight is none of weights alone, whose sum would be a statistic."""

    class Written(Cache):
        def forward(self, x):
            write(self.keys, F.relu(self.e(x)))
            return self.o(self.keys.sum(1))

    model = Written().double().eval()
    result = prune(model, torch.randn(4, 8, dtype=torch.float64), 0.5)
    assert result.model.keys.shape == (4, 10, 8)
    assert result.proof.statistics == ()
    assert result.proof.change == 0


class Drawing(nn.Module):
    def __init__(self, draw):
        super().__init__()
        self.a, self.b, self.s, self.c = (
            nn.Linear(8, 32),
            nn.Linear(32, 16),
            nn.Linear(32, 16),
            nn.Linear(16, 4),
        )
        self.draw = draw

    def forward(self, x):
        h = F.relu(self.a(x))
        return self.c(self.draw(self.b(h), self.s(h)))


def dropped(h, s):
    return F.dropout(h * s, 0.4, training=True)


DRAWS = {
    "variational": lambda h, s: h + torch.randn_like(h) * (0.5 * s).exp(),
    "dropout": dropped,
    "alpha dropout": lambda h, s: F.alpha_dropout(h + s, 0.3, training=True),
    "bernoulli": lambda h, s: torch.bernoulli(h.sigmoid()) * s,
    "normal": lambda h, s: torch.normal(h, s.abs()),
    "in place": lambda h, s: h + torch.empty_like(s).uniform_(-1, 1) * s,
    "numpy": lambda h, s: h * float(np.random.rand()) + s,
    "path of a sample": lambda h, s: h + s * (torch.rand(len(h), 1) > 0.5),
    "gumbel": lambda h, s: F.gumbel_softmax(h) + s,
    "distribution": lambda h, s: torch.distributions.Normal(h, s.exp()).rsample(),
}
STAYS = {  # noise along the channels, of a size of its own: those channels cannot go
    "rand": lambda h, s: h + torch.rand(h.shape) * s,
}


@pytest.mark.parametrize("name", [*DRAWS, *STAYS])
def test_random_forwards_are_proven_under_the_same_draws(name):
    model, x = Drawing((DRAWS | STAYS)[name]).eval(), torch.randn(4, 8)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist()
    result = prune(model, x, 0.5)
    assert result.proof.relative_error < 1e-9
    assert result.model.a.out_features == 16
    assert result.model.b.out_features == (16 if name in STAYS else 8)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]


def test_every_generator_is_seeded_for_a_forward_and_given_back():
    with isolated():
        before = random.getstate()
        with isolated():
            drawn = []
            for _ in range(2):
                with seeded_draws():
                    drawn.append((random.random(), float(np.random.rand()), torch.rand(2).tolist()))
            state = random.getstate()
        assert drawn[0] == drawn[1]
        assert state != before
        assert random.getstate() == before
