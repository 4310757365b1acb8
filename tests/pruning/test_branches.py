"""Branches on values: both ways are recorded, and the smaller network is right on each."""

from __future__ import annotations

import math
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from isoprune import prune
from isoprune.graph import trace
from isoprune.pruning.prune import NothingRemoved
from isoprune.types import IsopruneError
from pruning import deciding_helpers
from pruning.oracle import assert_right


class Branching(nn.Module):
    """`way(x)` says which of two hidden tensors the last layer reads."""

    def __init__(self, way):
        super().__init__()
        self.a, self.b = nn.Linear(8, 16), nn.Linear(8, 16)
        self.c, self.d = nn.Linear(16, 4), nn.Linear(16, 4)
        self.way = way

    def forward(self, x, *task):
        u, v = self.a(x).relu(), self.b(x).relu()
        return self.c(u if self.way(x, u, *task) else v) + self.d(u)


WAYS = {
    "mean": lambda x, _: x.mean() > 0.5,
    "item": lambda x, _: x.mean().item() > 0.5,
    "sum of items": lambda x, _: x[0, 0].item() + 2 * x[0, 1].item() > 1,
    "not": lambda x, _: not (x < 0).all(),
    "list": lambda x, _: torch.equal(x, x.abs()),
    "number": lambda x, _: int(x.argmax()) % 2 == 0 or x.max() > 1,
    "and": lambda x, _: x.max() > 1 and x.sum() > 3,
    "chained": lambda x, _: 0.1 < x.mean().item() < 5.0,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_both_ways_of_a_branch_are_right(way):
    torch.manual_seed(0)
    model, x = Branching(way).eval(), torch.randn(2, 8)
    pruned = prune(model, x, ratio=0.5)
    assert_right(model, pruned, (x,), (x + 2,), (x.abs() * 3,), (x - 5,))


MADE_PLAIN = {
    "float": lambda x: float(x.mean()) > 0.5,
    "whole": lambda x: int(x.sum()) > 3,
    "odd": lambda x: int(x.flatten().argmax()) % 2 == 1,
    "rounded": lambda x: round(x.mean().item()) > 0,
    "floor": lambda x: math.floor(x.mean().item()) > 0,
    "list": lambda x: max(x[0].tolist()) > 1,
    "kept for later": lambda x: later(x),
    "batch size": lambda x: len(x) > 2,
}


def later(x):
    n = int(x.sum())
    x = x + 1
    return n > 3


class Swapping(nn.Module):
    """The same layers run on both ways, and their channels meet in another order."""

    ways = MADE_PLAIN

    def __init__(self, way):
        super().__init__()
        self.a, self.b, self.c, self.way = nn.Linear(8, 6), nn.Linear(8, 6), nn.Linear(12, 4), way

    def forward(self, x):
        x = x["x"] if isinstance(x, dict) else x
        a, b = self.a(x), self.b(x).relu()
        return self.c(torch.cat((a, b) if self.ways[self.way](x) else (b, a), 1))


@pytest.mark.parametrize("way", MADE_PLAIN)
@pytest.mark.parametrize("named", [False, True])
def test_numbers_made_plain_and_functions_that_a_class_holds_are_branches(way, named):
    torch.manual_seed(0)
    model, x = Swapping(way).eval(), torch.randn(2, 8)
    pruned = prune(model, ({"x": x},) if named else x, ratio=0.5)
    assert len(pruned.graph.recording.passes) == 2
    others = [torch.randn(n, 8) * 2 + shift for n in (1, 2, 3, 5) for shift in (-1, 0, 2)]
    assert_right(model, pruned, (x,), *((other,) for other in others))


class OfBatch(Branching):
    """The batch size decides."""

    def forward(self, x):
        u, v = self.a(x).relu(), self.b(x).relu()
        return self.c(u if self.many(x) else v) + self.d(u)


class Longer(OfBatch):
    def many(self, x):
        return len(x) > 2


class Alone(OfBatch):
    def many(self, x):
        return x.shape[0] == 1


class Large(OfBatch):
    def many(self, x):
        return x.size(0) >= 12


class LongerElsewhere(OfBatch):
    def many(self, x):
        return deciding_helpers.many_samples(x)


class LargerByHelpers(OfBatch):
    def many(self, x):
        return deciding_helpers.many_rows(x)


@pytest.mark.parametrize("kind", [Longer, Alone, Large, LongerElsewhere, LargerByHelpers])
def test_a_branch_on_the_batch_size_is_right_on_both_ways(kind):
    torch.manual_seed(0)
    model = kind(None).eval()
    pruned = prune(model, torch.randn(2, 8), ratio=0.5)
    assert len(pruned.graph.recording.passes) == 2
    assert_right(model, pruned, *((torch.randn(n, 8),) for n in (1, 2, 3, 11, 12, 20)))


@pytest.mark.parametrize(("asks", "sizes"), [(True, {2, 4, 5, 6}), (False, {2})])
def test_only_numbers_that_running_code_compares_the_batch_size_with_are_tried(asks, sizes):
    seen = set()

    class Counted(nn.Linear):
        def __init__(self):
            super().__init__(8, 6)
            self.several = len(self.weight) > 6

        def forward(self, x):
            seen.add(x.size(0))
            if len(x.shape) == 3:
                x = x.flatten(1)
            return super().forward(x * 2 if asks and self.many(x) else x)

        def many(self, x):
            return len(x) == 5

    trace(nn.Sequential(Counted(), nn.ReLU(), nn.Linear(6, 4)), torch.randn(2, 8))
    assert seen == sizes


def test_a_branch_on_a_width_keeps_what_decides():
    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 4)

        def forward(self, x):
            x = self.a(x).relu()
            return self.c(self.b(x).relu() * 2 if x.shape[1] > 12 else x)

    with pytest.raises(NothingRemoved, match=r"in b: sizes written into the forward"):
        prune(Wide().eval(), torch.randn(2, 8), ratio=0.5)


def test_channels_that_decide_stay_and_are_named():
    graph = trace(Branching(lambda _, u: (u > 1).any()).eval(), torch.randn(2, 8))
    reasons = {f.reason for f in graph.frozen if f.tensor == "a.weight"}
    assert len(reasons) == 1
    assert re.fullmatch(r"test_branches\.py:\d+ branches on them", *reasons)


def test_a_branch_on_a_flag_of_the_input_is_right_for_other_flags():
    torch.manual_seed(0)
    model = Branching(lambda _x, _u, task: int(task) == 1).eval()
    x = torch.randn(2, 8)
    pruned = prune(model, (x, torch.tensor(0)), ratio=0.5)
    assert_right(model, pruned, (x, torch.tensor(0)), (x, torch.tensor(1)), (x, torch.tensor(3)))


def test_tasks_that_a_tensor_chooses_are_all_recorded():
    class Tasks(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.tasks = nn.Linear(8, 16), nn.ModuleList(nn.Linear(16, n) for n in (2, 3, 4))

        def forward(self, x, task):
            return self.tasks[int(task)](F.relu(self.a(x)))

    torch.manual_seed(0)
    model, x = Tasks().eval(), torch.randn(2, 8)
    pruned = prune(model, (x, torch.tensor(1)), ratio=0.5)
    assert not pruned.graph.recording.unrun
    assert_right(model, pruned, *((x, torch.tensor(n)) for n in range(3)))


def test_early_exits_are_all_recorded():
    class Early(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(8 if i == 0 else 12, 12) for i in range(4))
            self.exits = nn.ModuleList(nn.Linear(12, 3) for _ in range(4))

        def forward(self, x):
            for layer, leave in zip(self.layers, self.exits, strict=True):
                x = layer(x).relu()
                y = leave(x)
                if y.softmax(-1).max() > 0.7:
                    return y
            return y

    torch.manual_seed(0)
    model, x = Early().eval(), torch.randn(1, 8)
    pruned = prune(model, x, ratio=0.5)
    assert not pruned.graph.recording.unrun
    assert len(pruned.graph.recording.passes) >= 4
    assert_right(model, pruned, (x,), (x * 30,), (x * 5,))


def test_a_check_that_raises_is_no_way():
    class Checked(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 4)

        def forward(self, x):
            x = self.up(x).relu()
            if x.isnan().any():
                raise ValueError("not a number")
            return self.down(x)

    model, x = Checked().eval(), torch.randn(2, 8)
    pruned = prune(model, x, ratio=0.5)
    assert len(pruned.graph.recording.passes) == 1
    assert_right(model, pruned, (x,))


def test_a_loop_until_a_value_is_small_ends():
    class Looping(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.again, self.down = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 4)

        def forward(self, x):
            x = self.up(x)
            while self.down(x).norm() > 1:
                x = self.again(x).tanh() * 0.2
            return self.down(x)

    torch.manual_seed(0)
    model, x = Looping().eval(), torch.randn(2, 8)
    assert_right(model, prune(model, x, ratio=0.5), (x,), (x * 4,), (x * 0.01,))


def test_more_branches_than_can_be_recorded_are_refused():
    class Many(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(40))

        def forward(self, x):
            for layer in self.layers:
                x = layer(x) if x.sum() > 0 else x
            return x

    with pytest.raises(IsopruneError, match=r"more than 32 ways, last at test_branches\.py:\d+.*also="):
        trace(Many(), torch.randn(2, 8))
