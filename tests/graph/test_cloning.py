"""The fast copy of a module tree is the one that deepcopy makes, with the tensors shared."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from graph.small_networks import NETWORKS, network
from isoprune.graph.cloning import clone_sharing


class Odd(nn.Module):
    """Holds modules outside of its children, twice, in containers, and refers back to itself."""

    def __init__(self):
        super().__init__()
        self.layer, self.again = nn.Linear(3, 3), None
        self.again = self.layer
        self.pairs = [(self.layer, 1)]
        self.hidden = {"hidden": [nn.Linear(3, 3)]}
        self.__dict__["me"] = self
        self.size, self.sizes, self.options = 3, (3, 3), {"a": [1]}
        self.register_buffer("loose", torch.ones(3), persistent=False)
        self.plain = torch.ones(3)
        self.register_forward_hook(lambda *_: None)


def tree(model):
    return {name: type(m) for name, m in model.named_modules(remove_duplicate=False)}


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_what_deepcopy_makes(name):
    model, x = network(name)
    clone = clone_sharing(model)
    want = copy.deepcopy(model)
    assert tree(clone) == tree(want)
    for mine, theirs, own in zip(clone.modules(), want.modules(), model.modules(), strict=True):
        assert mine is not own
        assert list(vars(mine)) == list(vars(theirs))
        for key, value in vars(theirs).items():
            if isinstance(value, int | float | str | tuple | bool | None):
                assert vars(mine)[key] == value
    assert all(a is b for a, b in zip(clone.parameters(), model.parameters(), strict=True))
    assert all(a is b for a, b in zip(clone.buffers(), model.buffers(), strict=True))
    assert torch.equal(clone(x), model(x))


def test_what_modules_hold_beside_their_children_is_copied_once():
    model = Odd()
    clone = clone_sharing(model)
    assert clone.me is clone
    assert clone.again is clone.layer
    assert clone.pairs[0][0] is clone.layer
    assert clone.layer is not model.layer
    assert clone.layer.weight is model.layer.weight
    assert clone.hidden["hidden"][0] is not model.hidden["hidden"][0]
    assert clone.options == model.options
    assert clone.options is not model.options
    assert clone.options["a"] is not model.options["a"]
    assert clone.plain is not model.plain
    assert len(clone._forward_hooks) == 1
    clone.options["a"].append(2)
    clone.eval()
    clone.register_forward_pre_hook(lambda *_: None)
    assert model.options == {"a": [1]}
    assert model.training
    assert not model._forward_pre_hooks


def test_a_class_with_a_way_of_its_own_is_copied_that_way():
    class Own(nn.Linear):
        def __deepcopy__(self, memo):
            own = Own(1, 1)
            own.copied = True
            return own

    model = nn.Sequential(nn.Linear(2, 2), Own(2, 2))
    assert clone_sharing(model)[1].copied
