"""Functions of TorchScript within a forward are recorded like any other; a scripted module is not."""

from __future__ import annotations

import warnings
from typing import ClassVar

import pytest
import torch
from torch import nn

from isoprune.types import IsopruneError
from isoprune.verbs import prune
from pruning.oracle import assert_right

X = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))


def swish(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(x)


def by_its_own_mean(x: torch.Tensor) -> torch.Tensor:
    return x * x.mean(0, keepdim=True).relu()


def halves(x: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    return torch.cat([x[..., half:], x[..., :half]], -1)


class Between(nn.Module):
    """Functions between layers, of a table: torch copies no scripted function that a module holds."""

    table: ClassVar = {}

    def __init__(self, name):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(8, 16), nn.Linear(16, 12), nn.Linear(12, 3)
        self.name = name

    def forward(self, x):
        function = self.table[self.name]
        return self.c(function(self.b(function(self.a(x)))))


def scripted(function):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; networks still hold it
        return torch.jit.script(function)


@pytest.mark.parametrize("function", [swish, by_its_own_mean, halves])
def test_a_scripted_function_is_recorded(function):
    Between.table |= {"scripted": scripted(function), "plain": function}
    model = Between("scripted")
    pruned = prune(model, X, 0.5)
    assert pruned.model.b.weight.shape == (6, 8)
    plain = Between("plain")
    assert prune(plain, X, 0.5).plan.removed == pruned.plan.removed
    assert_right(plain, pruned, (X,), (torch.randn(5, 8),))


def test_a_scripted_part_is_refused_by_name():
    model = nn.Sequential(nn.Linear(8, 16), scripted(nn.Sequential(nn.Linear(16, 4))))
    with pytest.raises(
        IsopruneError, match=r"^Sequential holds a TorchScript module, '1', whose code is fixed"
    ):
        prune(model, X, 0.5)


@pytest.mark.parametrize("join", [torch.complex, torch.polar])
def test_parts_of_complex_numbers_meet(join):
    class Complex(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(8, 16), nn.Linear(8, 16), nn.Linear(32, 3)

        def forward(self, x):
            z = join(self.a(x).relu(), self.b(x))
            return self.c(torch.view_as_real(z * z).flatten(1))

    model = Complex()
    pruned = prune(model, X, 0.5)
    assert pruned.model.a.weight.shape == pruned.model.b.weight.shape == (8, 8)
    assert_right(model, pruned, (X,))
