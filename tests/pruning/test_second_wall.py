"""Sizes that become numbers, constants or positions in a forward are found without computing anything."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from isoprune.pruning import Proof, verify
from isoprune.verbs import prune

PARTS = {  # what is made of hidden channels, and how many there are then
    "norm times the width": (lambda h: F.normalize(h, dim=-1) * h.shape[-1] ** 0.5, 16),
    "width as a divisor": (lambda h: h / h.shape[1], 16),
    "width as a factor": (lambda h: (h * h.shape[1]).tanh(), 16),
    "width as a term": (lambda h: h + h.shape[1], 16),
    "width from a term": (lambda h: (h.size(1) - h).sin(), 16),
    "width as alpha": (lambda h: torch.add(h, h.flip(0), alpha=h.shape[1]), 16),
    "width as beta": (lambda h: F.softplus(h, beta=h.shape[1]), 16),
    "width in a tensor": (lambda h: h * torch.tensor(h.shape[1] ** -0.5), 16),
    "width in a filled tensor": (lambda h: h * torch.full((1,), h.shape[1] ** -0.5), 16),
    "width in a new tensor": (lambda h: h * h.new_tensor(h.shape[1] / 16.0), 16),
    "mean of squares by hand": (lambda h: h / (h.square().sum(1, keepdim=True) / h.shape[1] + 1).sqrt(), 16),
    "every second channel": (lambda h: h[:, ::2], 8),
    "channels from the fifth on": (lambda h: h[:, 4:], 12),
    "the last four": (lambda h: h[:, -4:], 4),
    "the second half": (lambda h: h[:, h.shape[1] // 2 :], 8),
    "one channel": (lambda h: h[:, 3, None] * h, 16),
}


class Network(nn.Module):
    def __init__(self, part, width):
        super().__init__()
        self.up, self.mid, self.head = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(width, 4)
        self.part = part

    def forward(self, x):
        return self.head(self.part(F.relu(self.mid(F.relu(self.up(x))))))


@pytest.mark.parametrize("name", PARTS)
def test_a_size_that_becomes_a_value_is_found_in_the_rehearsal(name, monkeypatch):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = Network(*PARTS[name]).double().eval(), torch.randn(4, 8, dtype=torch.float64)
    monkeypatch.setattr("isoprune.pruning.prune.verify", lambda *_, **__: Proof(0.0, 0.0))
    result = prune(model, x, 0.5)
    assert "up" in result.plan.removed
    assert verify(model, result.model, result.graph, result.plan, x).relative_error < 1e-9
