"""A recording keeps no tensor alive: what is known of one goes with it, and its key is nobody else's."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from isoprune.graph import trace
from isoprune.graph.labels import Plane
from isoprune.graph.tensor_facts import TensorFacts


def test_what_is_known_of_a_tensor_goes_with_it_and_no_other_gets_its_key():
    facts, keys = TensorFacts(()), []
    for _ in range(50):
        tensor = torch.empty(3)
        assert facts.get(tensor) is None
        assert not facts.adopted(tensor)  # the memory of one that is gone is no sign of it
        facts.mark(tensor, ())
        keys.append(facts.key(tensor))
        assert facts.adopted(tensor.view(3, 1))
        del tensor
    assert len(set(keys)) == 50
    assert -1 not in keys


def test_a_view_knows_the_one_of_the_same_place_after_that_is_gone():
    facts = TensorFacts(())
    tensor, planes = torch.empty(2, 3), (Plane(torch.arange(1, 4).expand(2, 3)),)
    facts.mark(tensor, planes)
    facts.of(tensor).activation = True
    view, other = tensor.detach(), tensor.view(3, 2)
    del tensor
    assert facts.adopted(view)
    assert facts.adopted(other)
    assert facts.of(view).planes is planes
    assert facts.of(view).activation
    assert facts.of(other).planes == ()
    assert not facts.of(other).activation


@dataclass
class Watched:
    """The tensors that a network made and their memory, and how many of them ever lived at once."""

    made: list[weakref.ref[Tensor]] = field(default_factory=list)
    most: int = 0
    batches: set[int] = field(default_factory=set)

    def look(self, tensor: Tensor) -> None:
        self.made.append(weakref.ref(tensor))
        self.batches.add(len(tensor))
        self.most = max(self.most, sum(ref() is not None for ref in self.made))


def deep(watched: Watched, branch: bool) -> nn.Module:
    """Return twelve layers, whose code compares the number of samples; with ``branch``, it reads values."""

    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(12))
            self.last = nn.Linear(8, 3)

        def forward(self, x):
            for layer in self.layers:
                x = layer(x).relu()
                watched.look(x)
            if len(x) > 3:
                x = x * 2
            if branch and x.mean() > 0.3:
                x = x.relu()
            return self.last(x)

    return Deep()


@pytest.mark.parametrize("branch", [False, True])
def test_a_recording_keeps_no_activation_whatever_the_batch_sizes(branch):
    watched = Watched()
    graph = trace(deep(watched, branch), torch.rand(2, 8))
    assert watched.batches == {2, 3, 4}
    assert len(watched.made) >= 36
    assert watched.most <= 3  # what goes into a layer, what comes out, and what becomes of that
    assert all(ref() is None for ref in watched.made)
    kept = 8 if branch else 0  # a mean over channels keeps them
    assert sum(group.size for group in graph.groups) == 96 - kept
