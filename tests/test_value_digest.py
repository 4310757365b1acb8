"""Digests of values: equal for what does the same, in every process; another one for all else."""

from __future__ import annotations

import functools
import operator
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import numpy
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from isoprune.graph import trace
from isoprune.types.value_digest import value_digest

POWER = 2


def powered(x):
    return x**POWER


def loss_of(power, scale=1.0, weights=()):
    def loss(outputs, targets):
        return scale * (outputs - targets).abs() ** power

    return functools.partial(loss, weights) if weights else loss


class Focal(nn.Module):
    smallest = 0.0

    def __init__(self, gamma):
        super().__init__()
        self.gamma = gamma

    def forward(self, outputs, targets):
        return ((1 - outputs) ** self.gamma * targets).mean()


class Softer(Focal):
    def forward(self, outputs, targets):
        return super().forward(outputs, targets) / 2


@dataclass(frozen=True)
class Options:
    power: int
    function: object = powered


class Slotted:
    __slots__ = ("power",)

    def __init__(self, power):
        self.power = power


class Weights(dict):
    """A container with a state of its own."""

    def __init__(self, scale):
        self.scale = scale


def values():
    """Return values no two of which do the same."""
    return [
        0, 0.0, False, None, "0", b"0", 1 + 0j, torch.float32, {"a": 1}, {"a": 2}, {"b": 1}, [1], (1,),
        [[1], 2], [1, [2]], {1, 2}, {1, 3}, frozenset({1, 2}), range(2), range(3),
        torch.zeros(2), torch.zeros(2, 1), torch.zeros(2, dtype=torch.float64), torch.ones(2),
        numpy.zeros(2), numpy.zeros(2, dtype=int), numpy.array(["a"]), numpy.array(["b"]),
        lambda x: x + 1, lambda x: x + 2, lambda x: x - 1, lambda x, y=1: x + y, lambda x, y=2: x + y,
        lambda x: x.sin(), lambda x: x.cos(), lambda x: (lambda y: y + 3)(x), lambda x: (lambda y: y + 4)(x),
        loss_of(1), loss_of(2), loss_of(2, scale=0.5), loss_of(2, weights=[1.0]), loss_of(2, weights=[2.0]),
        powered, cross_entropy, mse_loss, len, abs, torch.add, torch, numpy,
        nn.MSELoss(), nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1),
        nn.CrossEntropyLoss(weight=torch.ones(3)), nn.CrossEntropyLoss(weight=torch.ones(3) / 2),
        Focal, Softer, Focal(1.0), Focal(2.0), Softer(1.0), Focal(1.0).forward, Focal(3.0).forward,
        Options(1), Options(2), Options(1, loss_of(1)), nn.Dropout(0.1), nn.Dropout(0.2),
        numpy.float32(1), numpy.float32(2), Fraction(1, 2), Fraction(1, 3), Decimal(1), Decimal(2),
        slice(1), slice(2), bytearray(b"a"), bytearray(b"b"), re.compile("a"), re.compile("a", re.DOTALL),
        operator.itemgetter(0), operator.itemgetter(1), operator.attrgetter("a"), operator.methodcaller("a"),
        {"a": 1}.get, {"a": 2}.get, {"a": 1}.pop, str.lower, str.upper, torch.Tensor.sin, torch.Tensor.cos,
        numpy.sin, numpy.cos, torch.channels_last, torch.contiguous_format,
        Slotted(1), Slotted(2), Weights(1), Weights(2),
        torch.eye(2), torch.eye(2).to_sparse(), 2 * torch.eye(2).to_sparse(), torch.zeros(2, device="meta"),
    ]  # fmt: skip


def test_values_that_differ_have_different_digests():
    made = [value_digest(value) for value in values()]
    assert [i for i, one in enumerate(made) if one in made[:i]] == []


def test_another_process_gives_the_same_digests():
    """Sets have another order there, and objects other addresses."""
    made = [value_digest(value) for value in values()]
    code = f"from {__name__} import *; print(*map(value_digest, values()))"
    paths = os.pathsep.join(filter(None, sys.path))
    for hashes in "12":
        there = {**os.environ, "PYTHONHASHSEED": hashes, "PYTHONPATH": paths}
        said = subprocess.run(
            [sys.executable, "-c", code], env=there, capture_output=True, text=True, check=False
        )
        assert said.stdout.split() == made, said.stderr


def test_neither_its_name_nor_its_line_makes_another_function():
    names = {}
    exec("def f(x):\n    return x + 1\n\n# below\ndef g(x):\n    return x + 1  # the same", names)
    assert value_digest(names["f"]) == value_digest(names["g"])


def test_what_a_function_reads_of_its_module_counts_and_nothing_else_of_it(monkeypatch):
    before = value_digest(powered)
    monkeypatch.setitem(globals(), "UNREAD", 1)
    assert value_digest(powered) == before
    monkeypatch.setitem(globals(), "POWER", 3)
    assert value_digest(powered) != before


def test_what_holds_itself_has_a_digest_too():
    around, other = [1], [2]
    around.append(around)
    other.append(other)
    assert value_digest(around) != value_digest(other)

    def again(x, least=0):
        return again(x - 1) if x > least else least

    before = value_digest(again)
    again.__defaults__ = (1,)
    assert value_digest(again) != before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.bool, torch.int64, torch.complex64])
def test_every_element_of_a_tensor_counts_and_its_layout_does_not(dtype):
    zeros = torch.zeros(3, 2, dtype=dtype)
    changed = [(torch.arange(6).view(3, 2) == i).to(dtype) for i in range(6)]
    assert len({value_digest(tensor) for tensor in [zeros, *changed]}) == 7
    for tensor in changed:
        assert value_digest(tensor.T.contiguous().T) == value_digest(tensor)


def test_a_view_that_conjugates_or_negates_has_the_digest_of_its_numbers():
    numbers = torch.tensor([1 + 2j, 3 - 1j])
    assert (
        value_digest(numbers.conj()) == value_digest(numbers.conj().resolve_conj()) != value_digest(numbers)
    )
    assert value_digest(numbers.conj().imag) == value_digest(torch.tensor([-2.0, 1.0]))


def test_a_graph_is_told_by_what_was_found_and_not_by_the_addresses_of_tensors():
    def traced(width: int) -> str:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3)).eval()
        return value_digest(trace(net, torch.zeros(2, 6)))

    assert traced(8) == traced(8) != traced(9)
