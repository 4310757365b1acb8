"""What the forward on the example inputs does not run: train mode, other tasks and methods, unused parts."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from isoprune import prune
from isoprune.graph import trace
from isoprune.graph.code_branches import has_training_branch
from isoprune.pruning.prune import NothingRemoved
from isoprune.types import IsopruneError
from pruning.oracle import assert_right


class Heads(nn.Module):
    """A head, one of train mode, two tasks and a method of its own."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(8, 32), nn.Linear(32, 24), nn.Linear(24, 5)
        self.aux = nn.Linear(32, 6)
        self.tasks = nn.ModuleList([nn.Linear(24, 3), nn.Linear(24, 7)])

    def features(self, x):
        return F.relu(self.a(x))

    def forward(self, x, task=None):
        f = self.features(x)
        h = F.relu(self.b(f))
        if task is not None:
            return self.tasks[task](h)
        return (self.head(h), self.aux(f)) if self.training else self.head(h)

    def embed(self, x):
        return self.aux(self.features(x))


def in_train_mode(network, *args):
    return copy.deepcopy(network).train()(*args)


def heads():
    torch.manual_seed(0)
    return Heads().eval(), torch.randn(2, 8)


@pytest.mark.parametrize("grain", ["weight", "filter"])
def test_masks_reach_what_further_calls_run_and_the_next_round_knows_them(grain: str):
    model, x = heads()
    calls = [(x, 0), (x, 1), ("embed", x)]
    alone, once = (prune(model, x, ratio=0.5, grain=grain, also=also) for also in ((), calls))
    assert set(once.plan.kept) - set(alone.plan.kept) == {"tasks.0.weight", "tasks.1.weight"}
    again = prune(once, ratio=0.5, grain=grain)
    assert len(again.graph.recording.also) == 3
    assert set(again.plan.kept) == set(once.plan.kept)


def test_parts_that_no_call_runs_are_named_and_what_they_could_read_stays():
    model, x = heads()
    pruned = prune(model, x, ratio=0.5)
    assert pruned.graph.recording.unrun == tuple(f"tasks.{i}.{n}" for i in (0, 1) for n in ("weight", "bias"))
    assert "4 parameters took no part in the forward (tasks.0.weight" in repr(pruned)
    (kept,) = (f for f in pruned.graph.frozen if f.tensor == "b.weight")
    assert "tasks.0.weight took no part in the forward" in kept.reason
    assert pruned.model.a.out_features == 16
    assert_right(model, pruned, (x,))
    assert_right(model, pruned, (x,), call=in_train_mode)
    assert_right(model, pruned, (x,), call=lambda network, x: network.embed(x))
    assert_right(model, pruned, (x, 0), (x, 1))


class AskingHeads(Heads):
    """It asks for the sizes of parameters that it does not run."""

    def forward(self, x, task=None):
        narrow = self.tasks[0].weight.shape[1] < self.tasks[1].weight.size(0)
        return super().forward(-x if narrow else x, task)


def test_a_parameter_of_which_only_the_sizes_are_asked_took_no_part():
    torch.manual_seed(0)
    model, x = AskingHeads().eval(), torch.randn(2, 8)
    pruned = prune(model, x, ratio=0.5)
    assert pruned.graph.recording.unrun == tuple(f"tasks.{i}.{n}" for i in (0, 1) for n in ("weight", "bias"))
    assert_right(model, pruned, (x,), (x, 0), (x, 1))


def test_further_calls_and_methods_are_recorded_together():
    model, x = heads()
    pruned = prune(model, x, ratio=0.5, also=[(x, 0), {"x": x, "task": 1}, ("embed", x)])
    assert not pruned.graph.recording.unrun
    assert (pruned.model.a.out_features, pruned.model.b.out_features) == (16, 12)
    assert_right(model, pruned, (x,), (x, 0), (x, 1))
    assert_right(model, pruned, (x,), call=in_train_mode)
    assert_right(model, pruned, (x,), call=lambda network, x: network.embed(x))
    again = prune(pruned, ratio=0.5)  # the calls are remembered
    assert (again.model.a.out_features, again.model.b.out_features) == (8, 6)
    for network in (again.model.eval(), again.model.train()):
        network(x, 1)
        network.embed(x)


def test_parts_that_no_call_runs_can_be_ignored():
    model, x = heads()
    pruned = prune(model, x, ratio=0.5, unrun="ignore")
    assert pruned.model.b.out_features == 12
    assert pruned.model.tasks[0].in_features == 24
    assert_right(model, pruned, (x,))


def test_the_output_of_a_method_stays():
    model, x = heads()
    graph = trace(model, x, also=[("features", x), (x, 0), (x, 1)])
    assert {f.reason for f in graph.frozen if f.tensor == "a.weight"} == {"the output of features"}
    assert [g.name for g in graph.groups] == ["b"]


@pytest.mark.parametrize(
    ("also", "says"),
    [
        ([("embedding", 1)], "names the method 'embedding', which Heads does not have"),
        (torch.zeros(2, 8), r"also= takes a list of further calls.*got a Tensor"),
        ({"x": 1}, r"also= takes a list of further calls.*got a dict"),
        ([(torch.zeros(2, 9),)], r"The forward of Heads does not run on what also= gives it"),
        ([("embed", torch.zeros(2, 9))], r"The embed of Heads does not run on what also= gives it"),
    ],
)
def test_bad_further_calls_are_refused(also, says):
    model, x = heads()
    with pytest.raises(IsopruneError, match=says):
        trace(model, x, also=also)
    with pytest.raises(IsopruneError, match=says):
        prune(model, x, ratio=0.5, also=also)


def test_unrun_is_keep_or_ignore():
    model, x = heads()
    with pytest.raises(IsopruneError, match="unrun is 'keep' or 'ignore', not 'no'"):
        trace(model, x, unrun="no")


def test_a_network_of_which_all_could_be_read_by_an_unrun_part_is_refused_with_the_way_out():
    class Left(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.old, self.down = nn.Linear(8, 16), nn.Linear(16, 3), nn.Linear(16, 4)

        def forward(self, x):
            return self.down(self.up(x).relu())

    with pytest.raises(NothingRemoved, match=r"old\.weight took no part.*also=.*unrun='ignore'"):
        prune(Left(), torch.randn(2, 8), ratio=0.5)


class OfTrainMode(nn.Module):
    """Branches on train mode in a way of `inside`."""

    def __init__(self, inside):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 16), nn.Linear(8, 16), nn.Linear(16, 4)
        self.noise, self.inside = nn.Parameter(torch.full((16,), 0.1)), inside

    def forward(self, x):
        u, v = self.a(x).relu(), self.b(x).relu()
        return self.c(self.inside(self, u, v)) + self.c(v)


INSIDE = {
    "another tensor": lambda net, u, v: u + v * net.noise if net.training else v * net.noise,
    "a parameter": lambda net, u, v: v * net.noise + u if not net.training else u * net.noise,
    "dropout": lambda net, u, v: F.dropout(u, 0.5, net.training) * net.noise + v,
}


@pytest.mark.parametrize("inside", INSIDE.values(), ids=INSIDE)
def test_train_mode_is_right_too(inside):
    class Net(OfTrainMode):
        def forward(self, x):
            if self.training:
                return super().forward(x)
            return super().forward(x)

    torch.manual_seed(0)
    model, x = Net(inside).eval(), torch.randn(2, 8)
    pruned = prune(model, x, ratio=0.5)
    assert_right(model, pruned, (x,))
    loss = pruned.model.train()(x).square().sum()
    loss.backward()
    if inside is not INSIDE["dropout"]:
        assert_right(model, pruned, (x,), call=in_train_mode)


def test_train_mode_is_not_recorded_where_code_never_asks_for_it():
    class Asks(nn.Module):
        def forward(self, x):
            return x if not self.training else -x

    class HandsOn(nn.Module):
        def forward(self, x):
            return F.dropout(x, 0.5, self.training)

    assert not has_training_branch(nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(), HandsOn()))
    assert has_training_branch(nn.Sequential(nn.Linear(3, 3), Asks()))


def test_batch_norm_needs_no_batch_for_train_mode_to_be_recorded():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.norm = nn.Linear(8, 16), nn.BatchNorm1d(16)
            self.head, self.aux = nn.Linear(16, 4), nn.Linear(16, 3)

        def forward(self, x):
            x = self.norm(self.a(x)).relu()
            return (self.head(x), self.aux(x)) if self.training else self.head(x)

    model = Net().eval()
    pruned = prune(model, torch.randn(1, 8), ratio=0.5)
    assert not pruned.graph.recording.unrun
    assert int(pruned.model.norm.num_batches_tracked) == int(model.norm.num_batches_tracked) == 0
    pruned.model.train()(torch.randn(2, 8))


@pytest.mark.matrix
@pytest.mark.parametrize(("name", "size"), [("googlenet", 64), ("inception_v3", 299)])
def test_heads_of_train_mode_are_pruned_along(name, size):
    import torchvision

    model = torchvision.models.get_model(name, weights=None, init_weights=False, num_classes=4).eval()
    pruned = prune(model, torch.rand(2, 3, size, size), ratio=0.5)
    assert not pruned.graph.recording.unrun
    outputs = pruned.model.train()(torch.rand(2, 3, 299, 299))
    sum(o.square().sum() for o in outputs).backward()
    assert all(p.grad is not None for p in pruned.model.parameters())
