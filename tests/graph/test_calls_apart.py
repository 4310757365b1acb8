"""Several calls of one network are recorded apart: what one wrote into buffers does not change the next."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.ao.quantization import FakeQuantize, MinMaxObserver

import isoprune
from isoprune.types import IsopruneError


class Observed(nn.Module):
    """Fake quantisation by what was seen: its zero point is a buffer of integers made of activations."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 4)
        self.quantise = FakeQuantize.with_args(observer=MinMaxObserver, quant_min=0, quant_max=255)()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.quantise(self.first(x).relu())).relu())


def test_observers_that_branch_on_what_they_saw_are_recorded_each_way():
    result = isoprune.prune(Observed().eval(), torch.randn(3, 8), 0.5)
    assert result.model.second.out_features == 8
    assert any("branches on them" in f.reason for f in result.graph.frozen)


class Filled(nn.Module):
    """Writes where its inputs are largest into a buffer of integers, and returns it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(8, 16), nn.Linear(16, 4)
        self.register_buffer("last", torch.zeros(1, dtype=torch.long))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.head(self.first(x).relu())
        self.last[0] = y.sum(0).argmax()
        return y, self.last + 1

    def ask(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(self.first(x).relu()), self.last * 2


@pytest.mark.parametrize("also", [[], [("ask", torch.randn(2, 8))], [torch.randn(4, 8)]])
def test_a_buffer_of_integers_filled_by_one_call_is_a_constant_to_the_next(also):
    result = isoprune.prune(Filled().eval(), torch.randn(3, 8), 0.5, also=also)
    assert result.model.first.out_features == 8


@pytest.mark.parametrize("verb", [isoprune.prune, isoprune.trace])
def test_a_lazy_network_is_refused_until_it_has_shapes(verb):
    model = nn.Sequential(nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(4))
    x = torch.randn(3, 8)
    with pytest.raises(IsopruneError, match=r"0\.weight is of a lazy module.*Run the network once"):
        verb(model, x, *([0.5] if verb is isoprune.prune else []))
    model(x)
    assert isoprune.prune(model, x, 0.5).model[0].out_features == 8


@pytest.mark.parametrize("kind", [list, tuple, dict])
def test_modules_that_torch_does_not_know_of_are_named(kind):
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 4)
            layer = nn.Linear(16, 16)
            self.extra = {0: layer} if kind is dict else kind([layer])

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.extra[0](self.first(x).relu()).relu())

    with pytest.raises(IsopruneError, match=rf"extra\[0\], a module in a plain {kind.__name__}"):
        isoprune.prune(Hidden(), torch.randn(3, 8), 0.5)


def test_an_example_without_samples_is_refused_by_its_shape():
    with pytest.raises(IsopruneError, match=r"shape \(0, 8\), in which there is nothing.*at least one"):
        isoprune.prune(nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 4)), torch.randn(0, 8), 0.5)
