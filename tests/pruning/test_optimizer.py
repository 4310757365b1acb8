"""A step after pruning with the cut state is the dense step restricted to what stays."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graph.small_networks import network, rows
from isoprune.graph import trace
from isoprune.graph.labels import restrict
from isoprune.pruning import make_plan, shrink, shrink_optimizer_state
from isoprune.types import IsopruneError

OPTIMIZERS = {
    "momentum": lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.9, weight_decay=0.01),
    "adam": lambda ps: torch.optim.Adam(ps, lr=0.1),
    "adamw": lambda ps: torch.optim.AdamW(ps, lr=0.1, amsgrad=True),
}


def linear():
    return nn.Sequential(nn.Linear(7, 10), nn.Linear(10, 8), nn.Linear(8, 5))


def fixed_gradients_(model, graph, kept=None):
    """Give every parameter the same pseudo-random gradient, dense or restricted."""
    for i, (name, p) in enumerate(model.named_parameters()):
        planes, shape = graph.tensors[name]
        full = torch.randn(shape, generator=torch.Generator().manual_seed(i), dtype=p.dtype)
        p.grad = full if kept is None else restrict(full, planes, kept)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("from_dict", [False, True], ids=["optimizer", "state_dict"])
def test_a_step_with_the_cut_state_is_the_dense_step_restricted(make, from_dict):
    model, x = network((linear, rows))
    graph = trace(model, x)
    scores = {g.name: torch.rand(g.size, generator=torch.Generator().manual_seed(1)) for g in graph.groups}
    plan = make_plan(graph, scores, ratio=0.5)
    kept = graph.kept_ids(plan)
    dense = make(model.parameters())
    for _ in range(3):
        fixed_gradients_(model, graph)
        dense.step()
    small = shrink(model, graph, plan)
    optimizer = make(small.parameters())
    optimizer.load_state_dict(
        shrink_optimizer_state(dense.state_dict() if from_dict else dense, model, small, graph, plan)
    )
    fixed_gradients_(model, graph)
    dense.step()
    fixed_gradients_(small, graph, kept)
    optimizer.step()
    for name, p in small.named_parameters():
        want = restrict(dict(model.named_parameters())[name].detach(), graph.tensors[name][0], kept)
        torch.testing.assert_close(p.detach(), want, rtol=1e-12, atol=1e-14)


def test_momentum_of_a_linear_network_has_its_closed_form():
    model, x = network((linear, rows))
    graph = trace(model, x)
    plan = make_plan(graph, {g.name: torch.arange(g.size).double() for g in graph.groups}, ratio=0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    fixed_gradients_(model, graph)
    optimizer.step()
    small = shrink(model, graph, plan)
    cut = shrink_optimizer_state(optimizer, model, small, graph, plan)
    # Of the second layer [8, 10] the rows 4.. and the columns 5.. stay;
    # after one step the buffer is the gradient.
    torch.testing.assert_close(cut["state"][2]["momentum_buffer"], model[1].weight.grad[4:, 5:])


def test_the_dense_optimizer_is_left_as_it_was():
    model, x = network((linear, rows))
    graph = trace(model, x)
    plan = make_plan(graph, {g.name: torch.ones(g.size) for g in graph.groups}, ratio=0.5)
    optimizer = OPTIMIZERS["adam"](model.parameters())
    fixed_gradients_(model, graph)
    optimizer.step()
    before = {k: v["exp_avg"].clone() for k, v in optimizer.state_dict()["state"].items()}
    cut = shrink_optimizer_state(optimizer, model, shrink(model, graph, plan), graph, plan)
    for buffers in cut["state"].values():
        buffers["exp_avg"].zero_()
    assert all(torch.equal(v["exp_avg"], before[k]) for k, v in optimizer.state_dict()["state"].items())


def test_an_optimizer_of_another_network_is_refused():
    model, x = network((linear, rows))
    graph = trace(model, x)
    plan = make_plan(graph, {g.name: torch.ones(g.size) for g in graph.groups}, ratio=0.5)
    other = OPTIMIZERS["momentum"](linear().parameters())
    with pytest.raises(IsopruneError, match="not all those of Sequential, which has 6"):
        shrink_optimizer_state(other, model, shrink(model, graph, plan), graph, plan)
