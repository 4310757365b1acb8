"""Whole attention heads: what goes is what the output projection read of them."""

from __future__ import annotations

import copy

import pytest
import torch

from graph.small_networks import network
from isoprune.graph import trace
from isoprune.pruning import WrongNetwork, shrink, verify
from pruning.oracle import difference

# network -> (output projection, columns of it that one head fills, heads)
READERS = {"heads": ("out", 4, 4), "grouped_queries": ("out", 8, 2), "fused": ("proj", 4, 4)}


@pytest.mark.parametrize("gone", [(0,), (1,), "all but the last"])
@pytest.mark.parametrize("name", READERS)
def test_a_network_without_a_head_is_the_one_that_does_not_read_it(name, gone):
    reader, columns, heads = READERS[name]
    model, x = network(name)
    graph = trace(model, x)
    (group,) = graph.heads
    assert group.size == heads
    gone = tuple(range(heads - 1)) if gone == "all but the last" else gone
    plan = graph.removing({group.name: gone})
    small = shrink(model, graph, plan)
    assert verify(model, small, graph, plan, x).relative_error < 1e-12
    dense = copy.deepcopy(model)
    with torch.no_grad():
        for head in gone:
            getattr(dense, reader).weight[:, head * columns : (head + 1) * columns] = 0
    assert difference(dense, small, x) < 1e-12
    assert difference(model, small, x) > 1e-3
    assert getattr(small, reader).in_features == columns * (heads - len(gone))


def test_the_count_of_heads_follows():
    model, x = network("grouped_queries")
    graph = trace(model, x)
    small = shrink(model, graph, graph.removing({graph.heads[0].name: (1,)}))
    assert (small.heads, small.kv, small.width) == (2, 1, 4)


def test_heads_and_widths_can_go_together():
    model, x = network("heads")
    graph = trace(model, x)
    # Head 2 goes, and of each other head the first channel of q and k, the last of v.
    q = tuple(4 * head for head in (0, 1, 3))
    v = tuple(4 * head + 3 for head in (0, 1, 3))
    plan = graph.removing({"q.heads": (2,), "q": q, "v": v})
    small = shrink(model, graph, plan)
    assert verify(model, small, graph, plan, x).relative_error < 1e-12
    assert (small.heads, small.width) == (3, 3)
    assert small.q.weight.shape == (9, 16)


def test_removing_all_channels_of_a_head_is_removing_the_head():
    model, x = network("heads")
    graph = trace(model, x)
    one, two = graph.removing({"q.heads": (1,)}), graph.removing({"q": (4, 5, 6, 7), "v": (4, 5, 6, 7)})
    assert torch.equal(graph.kept_ids(one), graph.kept_ids(two))


def test_torchs_own_attention_needs_its_embedding_to_shrink_with_its_heads():
    model, x = network("multihead")
    graph = trace(model, x)
    plan = graph.removing({"attention.heads": (1,)})
    with pytest.raises(WrongNetwork, match="The smaller network does not run"):
        verify(model, shrink(model, graph, plan), graph, plan, x)
