"""What a user gives by mistake is refused in a line that says what to give, and never ends in a raw error."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import isoprune
from isoprune.types import IsopruneError


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 4))


X = torch.randn(3, 8)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (lambda x: x, "a function"),
        (nn.Linear, "the class Linear"),
        (None, "a NoneType"),
        ({"0.weight": X}, "a dict"),
    ],
)
@pytest.mark.parametrize("verb", [lambda m: isoprune.prune(m, X, 0.5), lambda m: isoprune.trace(m, X)])
def test_what_is_no_module(verb, given, named):
    with pytest.raises(IsopruneError, match=rf"The network is {named}, not a module\. Give an nn\.Module"):
        verb(given)


@pytest.mark.parametrize("key", [0, nn.ReLU()])
def test_ratios_by_something_other_than_names(key):
    with pytest.raises(IsopruneError, match=r"ratio has the key .*Its keys are patterns of names"):
        isoprune.prune(network(), X, {key: 0.5})


def test_inputs_of_a_type_that_the_network_does_not_take():
    with pytest.raises(IsopruneError, match=r"does not run on the example inputs: RuntimeError.*same dtype"):
        isoprune.prune(network(), torch.ones(3, 8, dtype=torch.long), 0.5)


@pytest.mark.parametrize("where", ["network", "inputs"])
def test_tensors_without_numbers(where):
    model = network().to("meta") if where == "network" else network()
    x = X if where == "network" else X.to("meta")
    with pytest.raises(IsopruneError, match=r"(0\.weight|example_inputs) lies on the meta device"):
        isoprune.prune(model, x, 0.5)


@pytest.mark.parametrize("verb", [isoprune.repair, lambda p, batches: isoprune.diagnose(p, batches)])
def test_one_tensor_where_batches_belong(verb):
    with pytest.raises(IsopruneError, match=r"batches is one tensor, of shape \(3, 8\)"):
        verb(isoprune.prune(network(), X, 0.5), batches=X)


def test_a_module_where_a_function_that_makes_one_belongs(tmp_path):
    place = isoprune.save(isoprune.prune(network(), X, 0.5), tmp_path / "s")
    with pytest.raises(IsopruneError, match="build is a Sequential, not a function"):
        isoprune.load(place, build=network())


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 12), nn.Linear(12, 4)

    def forward(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x).relu() * weight)


def test_batches_whose_first_part_is_not_all_that_a_forward_takes():
    inputs = (X, torch.rand(3, 1))
    small = isoprune.prune(Two(), inputs, 0.5)
    with pytest.raises(IsopruneError, match=r"missing 1 required.*give task=isoprune\.Task\(inputs="):
        isoprune.repair(small, "reconstruct", batches=[inputs])
    whole = isoprune.Task(inputs=lambda batch: batch)
    assert isoprune.repair(small, "reconstruct", batches=[inputs], task=whole).model.first.out_features == 6
