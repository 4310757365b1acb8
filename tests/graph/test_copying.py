"""What modules hold is copied: hooks and closures refer to the copy; what has no copy is shared, or named."""

from __future__ import annotations

import sys
import threading
import weakref
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from isoprune.graph.cloning import clone_sharing, runnable_copy
from isoprune.types import IsopruneError
from isoprune.verbs import prune

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def conv(before, after, stride=1):
    return nn.Conv2d(before, after, 3, stride, 1)


class Stored:
    """A hook that keeps what a layer gave, as fastai's."""

    def __init__(self, module):
        self.stored = None
        self.handle = module.register_forward_hook(self.keep)

    def keep(self, _module, _inputs, output):
        self.stored = output

    def read(self):
        return self.stored


class Closed:
    """The same by a function that closes over a dict, with a default."""

    def __init__(self, module):
        self.kept = kept = {}

        def keep(_module, _inputs, output, key="s"):
            kept[key] = output

        module.register_forward_hook(keep)

    def read(self):
        return self.kept["s"]


class Partial(Closed):
    def __init__(self, module):
        self.kept = {}
        module.register_forward_hook(partial(_keep, self.kept))


def _keep(kept, _module, _inputs, output):
    kept["s"] = output


class Skip(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.first = nn.Sequential(conv(3, 8), nn.ReLU())
        self.second, self.up = conv(8, 12, 2), nn.ConvTranspose2d(12, 8, 2, 2)
        self.out, self.hook = conv(16, 2), kind(self.first)

    def forward(self, x):
        y = self.up(F.relu(self.second(self.first(x))))
        return self.out(torch.cat([y, self.hook.read()], 1))


@pytest.mark.parametrize("ran", [False, True])
@pytest.mark.parametrize("kind", [Stored, Closed, Partial])
def test_skips_by_hooks_lose_channels_and_the_users_hooks_keep_nothing(kind, ran):
    model = Skip(kind).eval()
    if ran:
        model(X)
    before = dict(vars(model.hook))
    kept = dict(before.get("kept", {}))
    result = prune(model, X, 0.5)
    assert result.model.first[0].out_channels == 4
    assert result.model(X).shape == (2, 2, 8, 8)
    assert all(vars(model.hook)[k] is v for k, v in before.items())
    assert all(model.hook.kept[k] is v for k, v in kept.items()) if kept else not before.get("kept")
    assert result.model.hook is not model.hook


class Holding(nn.Sequential):
    def __init__(self, held):
        super().__init__(conv(3, 8), nn.ReLU(), conv(8, 2))
        self.held = held


@pytest.mark.parametrize(
    "make",
    [
        threading.Lock,
        threading.Condition,
        lambda: [threading.RLock()],
        lambda: {"log": sys.__stderr__},
        lambda: torch.ones(2, requires_grad=True) * 2,
        threading.local,
        lambda: lambda x: x,
    ],
)
def test_what_has_no_copy_is_no_obstacle(make):
    model = Holding(make())
    assert prune(model, X, 0.5).model[0].out_channels == 4


@pytest.mark.parametrize("make", [lambda: (i for i in range(3)), lambda: {"a": [(i for i in range(2))]}])
def test_what_a_forward_would_use_up_is_named(make):
    with pytest.raises(IsopruneError, match=r"Holding\.held holds a generator.*Take it off the module"):
        prune(Holding(make()), X, 0.5)


def test_a_generator_of_numbers_is_copied_with_its_state():
    model = Holding(torch.Generator().manual_seed(3))
    clone = clone_sharing(model)
    assert clone.held is not model.held
    assert torch.equal(clone.held.get_state(), model.held.get_state())


def test_a_patched_forward_runs_on_the_copy():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    plain = model[0].forward
    model[0].forward = lambda x: 2 * plain(x)
    result = prune(model, torch.randn(5, 3), 0.5)
    assert result.model[0](torch.ones(1, 3)).shape == (1, 2)
    assert model[0](torch.ones(1, 3)).shape == (1, 4)


def test_a_weak_reference_is_to_the_copy():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[1].before = weakref.ref(model[0])
    assert (clone := clone_sharing(model))[1].before() is clone[0]


def test_a_runnable_copy_has_buffers_and_loose_tensors_of_its_own():
    model = nn.Sequential(nn.BatchNorm1d(3))
    model.loose, model.nested = torch.ones(2), {"a": [torch.ones(3)]}
    copy = runnable_copy(model)
    for mine, theirs in zip([*copy.buffers(), copy.loose], [*model.buffers(), model.loose], strict=True):
        assert mine is not theirs
        assert torch.equal(mine, theirs)
    assert copy[0].weight is model[0].weight
    wide = runnable_copy(model, torch.Tensor.double)
    assert {t.dtype for t in (wide[0].weight, wide.loose, wide.nested["a"][0])} == {torch.float64}


class Image(torch.Tensor):
    pass


def test_inputs_of_a_subclass_are_taken_as_they_are():
    model = nn.Sequential(conv(3, 16), nn.ReLU(), conv(16, 2))
    assert prune(model, X.as_subclass(Image), 0.5).model[0].out_channels == 8
