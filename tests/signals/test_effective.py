"""A copy with its parametrizations worked out computes what the network computes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from isoprune.pruning.mask import masked
from isoprune.signals.effective import effective


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
        self.head.weight = self.words.weight

    def forward(self, x):
        return self.head(self.words(x).mean(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.run = nn.LSTM(3, 4, batch_first=True)

    def forward(self, x):
        return self.run(x)[0]


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        return self.attend(x, x, x)[0]


FLOATS = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
CASES = {
    "convolution": (lambda: nn.Conv1d(5, 4, 2), ["weight", "bias"], FLOATS),
    "tied": (Tied, ["words.weight"], torch.tensor([[0, 1], [3, 4]])),
    "recurrent": (Recurrent, ["run.weight_hh_l0", "run.bias_ih_l0"], FLOATS),
    "attention": (Attending, ["attend.in_proj_weight", "attend.out_proj.weight"], FLOATS[..., [0, 1, 2, 2]]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_masked_network_as_it_computes(name):
    make, tensors, x = CASES[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = make().double().eval()
    shapes = {n: net.get_parameter(n).shape for n in tensors}
    masks = {n: (torch.arange(s.numel()) % 3 > 0).reshape(s) for n, s in shapes.items()}
    small = masked(net, masks)
    before = copy.deepcopy(small.state_dict())
    plain = effective(small)
    assert {n for n, _ in plain.named_parameters()} == {n for n, _ in net.named_parameters()}
    for n, kept in masks.items():
        assert torch.equal(plain.get_parameter(n), torch.where(kept, net.get_parameter(n), 0))
    torch.testing.assert_close(plain(x), small(x))
    moved = {n: p.detach() + 1 for n, p in plain.named_parameters()}  # what gradients are taken of
    with torch.no_grad():
        for n, p in net.named_parameters():
            p.copy_(moved[n])
    torch.testing.assert_close(torch.func.functional_call(plain, moved, (x,)), net(x))
    assert all(torch.equal(t, before[n]) for n, t in small.state_dict().items())


def test_weight_normalisation_is_worked_out_and_left_in_place():
    net = weight_norm(nn.Linear(3, 2)).double()
    plain = effective(net)
    assert [n for n, _ in plain.named_parameters()] == ["bias", "weight"]
    assert torch.equal(plain.weight, net.weight)
    assert hasattr(net, "parametrizations")
    assert plain.bias is net.bias
