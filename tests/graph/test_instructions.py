"""Instructions read alike: what later Pythons write otherwise, and the lines of a statement."""

from __future__ import annotations

import dis
from types import SimpleNamespace

import pytest

from isoprune.graph import instructions as module
from isoprune.graph.value_flow import _groups


def blocks(x, context, items):
    with context(x):
        y = x.reshape(
            -1,
            3,
        )
        z = y + 1
    for item in items:
        z = item(z)
    if z is None:
        z = y
    return z


def test_a_statement_is_its_own_lines_and_not_the_block_that_it_begins():
    start = blocks.__code__.co_firstlineno
    lines = [(g.first - start, g.last - start) for g in _groups(blocks.__code__)]
    assert lines == [(1, 1), (2, 5), (6, 6), (7, 7), (8, 8), (9, 9), (10, 10), (11, 11)]


@pytest.mark.parametrize(("opname", "argval", "argrepr", "read"), [
    ("LOAD_FAST_LOAD_FAST", ("a", "b"), "a, b", [("LOAD_FAST", "a"), ("LOAD_FAST", "b")]),
    ("STORE_FAST_LOAD_FAST", ("a", "b"), "a, b", [("STORE_FAST", "a"), ("LOAD_FAST", "b")]),
    ("LOAD_FAST_BORROW", "a", "a", [("LOAD_FAST", "a")]),
    ("LOAD_FAST_BORROW_LOAD_FAST_BORROW", ("a", "b"), "a, b", [("LOAD_FAST", "a"), ("LOAD_FAST", "b")]),
    ("LOAD_METHOD", "size", "size", [("LOAD_ATTR", "size")]),
    ("LOAD_SMALL_INT", 3, "3", [("LOAD_CONST", 3)]),
    ("RETURN_CONST", None, "None", [("LOAD_CONST", None), ("RETURN_VALUE", None)]),
    ("BINARY_OP", 26, "[]", [("BINARY_SUBSCR", 26)]),
    ("BINARY_OP", 0, "+", [("BINARY_OP", 0)]),
    ("BINARY_SLICE", None, "", [("BINARY_SUBSCR", None)]),
    ("TO_BOOL", None, "", []),
])  # fmt: skip
def test_what_a_later_python_writes_reads_as_before(opname, argval, argrepr, read, monkeypatch):
    at = SimpleNamespace(lineno=1, end_lineno=1)
    step = SimpleNamespace(opname=opname, argval=argval, argrepr=argrepr, positions=at)
    monkeypatch.setattr(dis, "get_instructions", lambda _: [step])
    assert [(i.name, i.argument) for i in module._read(blocks.__code__)] == read
