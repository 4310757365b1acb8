"""The ledger's bookkeeping against a slow union-find and hand-made cases."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from isoprune.graph.ledger import Ledger


def slow_components(size, pairs):
    """Merge sets until nothing changes."""
    sets = [{i} for i in range(size)]
    for a, b in pairs:
        one = next(s for s in sets if a in s)
        other = next(s for s in sets if b in s)
        if one is not other:
            sets.remove(other)
            one |= other
    return {frozenset(s) for s in sets}


pairs = st.lists(st.tuples(st.integers(1, 15), st.integers(1, 15)), max_size=20)


@given(pairs)
@settings(deadline=None)
def test_components_are_those_of_a_slow_union_find(drawn):
    ledger = Ledger()
    ledger.block("w", 0, 15)
    for a, b in drawn:
        ledger.unify(torch.tensor([a]), torch.tensor([b]), "here")
    component, count = ledger.components()
    got = {frozenset(np.flatnonzero(component == c).tolist()) for c in range(count)}
    assert got == slow_components(16, drawn)


def test_blocks_are_disjoint_and_know_where_they_are_from():
    ledger = Ledger()
    a, b = ledger.block("conv.weight", 0, 3), ledger.block("conv.weight", 1, 2)
    assert a.tolist() == [1, 2, 3]
    assert b.tolist() == [4, 5]
    assert [(s.tensor, s.dim) for i in (1, 3, 4, 5) if (s := ledger.source(i))] == [
        ("conv.weight", 0), ("conv.weight", 0), ("conv.weight", 1), ("conv.weight", 1),
    ]  # fmt: skip
    assert ledger.source(0) is None


def test_what_meets_an_element_without_a_channel_must_stay():
    ledger = Ledger()
    ids = ledger.block("w", 0, 3)
    ledger.unify(ids, torch.tensor([0, 0, 3]), "cat in head")
    component, _ = ledger.components()
    stuck = ledger.frozen_components(component)
    assert [bool(stuck[component[i]]) for i in ids] == [True, True, False]
    assert ledger.frozen[0][1] == "cat in head meets values that cannot go"


def test_what_is_one_with_a_frozen_channel_is_frozen():
    ledger = Ledger()
    a, b = ledger.block("a", 0, 2), ledger.block("b", 0, 2)
    ledger.unify(a, b, "add")
    ledger.freeze(b[:1], "the network's output")
    component, _ = ledger.components()
    stuck = ledger.frozen_components(component)
    assert [bool(stuck[component[i]]) for i in (*a, *b)] == [True, False, True, False]


def test_broadcast_ids_unify_element_by_element():
    ledger = Ledger()
    grid, width = ledger.block("grid", 0, 6).reshape(2, 3), ledger.block("width", 0, 3)
    ledger.unify(grid, width.expand(2, 3), "mul")
    component, _ = ledger.components()
    assert (component[grid.numpy()] == component[width.numpy()]).all()
    assert len(set(component[width.numpy()])) == 3


def test_a_row_is_made_of_its_elements():
    ledger = Ledger()
    box = ledger.block("w", 0, 6).reshape(2, 3)
    rows = ledger.row_ids(box)
    assert [(i, m.tolist()) for i, m in ledger.rows] == [(7, [1, 2, 3]), (8, [4, 5, 6])]
    assert rows.tolist() == [7, 8]


def test_one_row_needs_no_balance():
    ledger = Ledger()
    ledger.grid(torch.arange(1, 4)[None], "view")
    assert not ledger.grids
