"""What a forward returns is looked into wherever tensors can be; what hides them is refused by name."""

from __future__ import annotations

import types
from collections import deque
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from isoprune.graph import trace
from isoprune.graph.outputs import OpaqueOutput, leaves, tensors_in
from isoprune.verbs import prune


class Held:
    def __init__(self, scores):
        self.scores, self.me = scores, self


class Slotted:
    __slots__ = ("other", "scores")

    def __init__(self, scores):
        self.scores = scores


@dataclass(slots=True)
class Record:
    y: torch.Tensor
    name: str = "y"


class Registered:
    def __init__(self, y):
        self.hide = lambda: y


class Marked(torch.Tensor):
    pass


pytree.register_pytree_node(Registered, lambda r: ([r.hide()], None), lambda c, _: Registered(*c))


def normal(y):
    return torch.distributions.Normal(y, 1.0, validate_args=False)


SEEN = {
    "tuple": lambda y: (None, y, "name"),
    "own class": Held,
    "slots": Slotted,
    "dataclass with slots": Record,
    "namespace": lambda y: types.SimpleNamespace(logits=y),
    "class of one object": lambda y: type("O", (), {"logits": y})(),
    "deque": lambda y: deque([y]),
    "set of one": lambda y: {y},
    "distribution": normal,
    "nested distributions": lambda y: torch.distributions.Independent(normal(y), 1, validate_args=False),
    "objects in dicts in lists": lambda y: [{"inst": Held((y,))}],
    "values of a dict": lambda y: {"a": y}.values(),
    "registered": Registered,
    "bool": lambda y: y.sigmoid() > 0.5,
    "int32": lambda y: (10 * y).to(torch.int32),
    "uint8": lambda y: (y.clamp(0, 1) * 255).to(torch.uint8),
    "complex": lambda y: y * 1j,
    "subclass": lambda y: y.as_subclass(Marked),
    "float16": lambda y: y.half(),
}
HIDDEN = {
    "generator": lambda y: (t for t in [y]),
    "iterator in a list": lambda y: [y, iter([y])],
    "numpy": lambda y: y.numpy(),
    "numpy in an object": lambda y: Held(y.numpy()),
    "function": lambda y: lambda: y,
    "set": lambda y: {y, y + 1},
    "nothing": lambda _: None,
    "empty": lambda _: object(),
    "module": lambda _: nn.Linear(2, 2),
}


class Net(nn.Module):
    def __init__(self, out):
        super().__init__()
        self.up, self.head, self.out = nn.Linear(8, 16), nn.Linear(16, 6), out

    def forward(self, x):
        return self.out(self.head(self.up(x).relu()))


def built(out):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net(out).eval(), torch.randn(4, 8)


@pytest.mark.parametrize("name", SEEN)
def test_every_tensor_that_can_be_reached_is_an_output(name):
    model, x = built(SEEN[name])
    result = prune(model, x, 0.5)
    assert result.model.head.weight.shape == (6, 8)
    assert result.proof.tensors >= 1
    assert result.proof.relative_error < 1e-9
    assert {f.tensor for f in result.graph.frozen} == {"head.weight"}


@pytest.mark.parametrize("name", HIDDEN)
def test_what_hides_tensors_is_refused_by_name(name):
    model, x = built(HIDDEN[name])
    with pytest.raises(OpaqueOutput, match=r"network('s output| returns).*(Return|prune a module)"):
        prune(model, x, 0.5)


def test_all_of_an_output_are_found_by_where_they_stand():
    y = torch.ones(2)
    found = leaves({"a": [y, {"b": Held(y > 0)}], 3: (4.5, None)})
    assert list(found) == ["output['a'][0]", "output['a'][1]['b'].scores", "output[3][0]"]


def test_only_real_numbers_are_those_of_a_loss():
    y = torch.ones(2)
    assert [t.dtype for t in tensors_in([y, y > 0, y.double(), iter([y])])] == [torch.float32, torch.float64]


def test_a_network_that_knows_itself_and_its_modules_is_no_output():
    model, x = built(lambda y: types.SimpleNamespace(y=y, net=nn.Linear(3, 3), again=[]))
    assert [f.tensor for f in trace(model, x).frozen] == ["head.weight"]


def test_numbers_taken_from_a_tensor_are_compared():
    model, x = built(lambda y: (y, float(y.sum())))
    assert prune(model, x, 0.5).proof.relative_error < 1e-9
