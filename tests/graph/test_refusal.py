"""A forward that cannot be recorded is refused with the module, the operation and the way out."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from isoprune.graph import trace
from isoprune.types import IsopruneError

x = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))


class OfBatch(nn.Module):
    """A forward that takes one argument, a dict."""

    def __init__(self):
        super().__init__()
        self.a, self.o = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, batch):
        return self.o(F.relu(self.a(batch["features"])))


class WithOptions(OfBatch):
    def forward(self, batch, scale=2.0):
        return super().forward(batch) * scale


class OfPair(OfBatch):
    """One argument, a tuple."""

    def forward(self, pair):
        return super().forward({"features": pair[0] + pair[1]})


class Own(OfBatch):
    """Raises something of its own, in the middle."""

    def forward(self, features):
        h = F.relu(self.a(features))
        if len(h) < 5:
            raise RuntimeError("five samples are the least")
        return self.o(h)


class Counts(OfBatch):
    """A buffer counts the calls; then the forward fails."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, features):
        self.calls += 1
        return self.o(features)


@pytest.mark.parametrize("make", [OfBatch, WithOptions])
def test_a_dict_for_a_forward_of_one_argument_gets_the_hint_and_runs_with_it(make):
    with pytest.raises(IsopruneError, match=r"takes one argument, 'batch'.*example_inputs=\(batch,\)\."):
        trace(make(), {"features": x})
    assert trace(make(), ({"features": x},)).groups


def test_a_tuple_for_a_forward_of_one_argument_gets_the_hint_and_runs_with_it():
    with pytest.raises(IsopruneError, match=r"TypeError.*wrap it: example_inputs=\(inputs,\)\."):
        trace(OfPair(), (x, x))
    assert trace(OfPair(), ((x, x),)).groups


def test_a_dict_that_names_the_argument_gets_no_hint():
    with pytest.raises(IsopruneError, match=r"does not run on these example_inputs: IndexError") as refused:
        trace(OfBatch(), {"batch": x})
    assert "wrap it" not in str(refused.value)


@pytest.mark.parametrize(
    ("model", "given", "message"),
    [
        (Own(), x, "does not run on these example_inputs: RuntimeError: five samples are the least. Give"),
        (nn.Linear(9, 4), x, "Linear does not run on these example_inputs: RuntimeError: mat1 and mat2"),
        (nn.Sequential(nn.Linear(8, 4)), {"y": x}, "takes one argument, 'input'"),
        (OfBatch(), torch.zeros(2, 8, dtype=torch.long), "does not run on these example_inputs: IndexError"),
    ],
)
def test_what_does_not_run_as_it_is_says_so(model, given, message):
    with pytest.raises(IsopruneError, match=message):
        trace(model, given)


def test_a_refused_network_is_left_as_it_was():
    model = Counts()
    with pytest.raises(IsopruneError, match="does not run"):
        trace(model, x)
    assert model.calls == 0
    assert model.training
