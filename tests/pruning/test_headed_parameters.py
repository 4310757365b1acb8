"""A parameter [heads, width] that meets a view into heads x width is cut like the heads, each its own way."""

from __future__ import annotations

import pytest
import torch

from graph.small_networks import network
from isoprune.verbs import prune
from pruning.headed_networks import GraphAttention, PerHead, Placed, Relative, nodes, tokens
from pruning.oracle import difference, zeroed_reads

LAYOUTS = ("plain", "swapped", "flat", "single", "table")


@pytest.mark.parametrize("laid", LAYOUTS)
def test_biases_of_every_head_lose_what_queries_and_keys_lose(laid):
    model, x = network((lambda: Relative(laid), tokens))
    result = prune(model, x, 0.5, criterion="random", seed=3)
    assert [getattr(result.model, name).out_features for name in ("up", "q", "k", "v", "out")] == [8] * 5
    assert result.attempts == ()
    assert difference(zeroed_reads(model, result.graph, result.plan), result.model, x) < 1e-12
    # Each head keeps channels of its own, and the bias those of the query.
    kept = torch.ones(16, dtype=torch.bool)
    makers = {m.tensor: g.name for g in result.graph.groups for m in g.members if m.role == "out"}
    kept[list(result.plan.removed[makers["q.weight"]])] = False
    by_head = kept.reshape(4, 4)
    assert len({tuple(row) for row in by_head.tolist()}) > 1
    flat = lambda u: (u.t() if laid == "swapped" else u).reshape(-1)  # noqa: E731
    torch.testing.assert_close(flat(result.model.u), flat(model.u)[kept])


@pytest.mark.parametrize("laid", LAYOUTS)
def test_whole_heads_go_with_their_biases(laid):
    model, x = network((lambda: Relative(laid), tokens))
    result = prune(model, x, 0.5, grain="head")
    (name,) = result.plan.removed
    gone = list(result.plan.removed[name])
    assert name == "q.heads"
    assert result.model.u.numel() == 8
    # By hand: a head that went adds nothing if the projection behind it does not read it.
    with torch.no_grad():
        model.out.weight.view(16, 4, 4)[:, gone] = 0
        torch.testing.assert_close(result.model(x), model(x))


@pytest.mark.parametrize("attend", [True, False])
def test_the_attention_vectors_of_a_graph_network_lose_what_its_features_lose(attend):
    model, x = network((lambda: GraphAttention(attend), nodes))
    result = prune(model, x, 0.5)
    assert (result.model.up.out_features, result.model.width) == (12, 3)
    assert result.model.left.shape == result.model.right.shape == (1, 4, 3)
    gone = list(result.plan.removed["up"])
    with torch.no_grad():  # by hand: scores and head read the features that went as zero
        for parameter in (model.left, model.right):
            parameter.view(-1)[gone] = 0
        model.head.weight[:, gone] = 0
        torch.testing.assert_close(result.model(x), model(x))


def test_a_learned_map_goes_with_the_channels_that_a_view_makes():
    model, x = network((Placed, tokens))
    result = prune(model, x, 0.5)
    assert result.model.place.shape == (1, 8, 2, 2)
    assert result.model.up.out_features == 32
    gone = list(result.plan.removed["up"])
    with torch.no_grad():
        model.out.weight[:, gone] = 0
        torch.testing.assert_close(result.model(x), model(x))


def test_a_matrix_of_every_head_reads_and_makes_the_same_width_in_all():
    model, x = network((PerHead, tokens))
    result = prune(model, x, 0.5)
    assert result.model.matrix.shape == (4, 2, 2)
    assert result.model.gain.shape == result.model.shift.shape == (4, 2)
    assert difference(zeroed_reads(model, result.graph, result.plan), result.model, x) < 1e-12
