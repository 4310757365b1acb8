"""The instructions of a function, named alike by every Python from 3.11 on."""

from __future__ import annotations

import dis
import re
from collections.abc import Iterator
from functools import cache
from types import CodeType
from typing import Any, NamedTuple

# What only the interpreter needs.
_DROPPED = {
    *("CACHE", "COPY_FREE_VARS", "LOAD_FAST_AND_CLEAR", "MAKE_CELL", "NOP", "NOT_TAKEN"),
    *("PRECALL", "PUSH_NULL", "RESUME", "TO_BOOL"),
}
_UNNAMED = (".0", "__class__")  # of comprehensions and of `super()`
_EXPRESSIONS = ("BINARY", "BUILD", "CALL", "COMPARE", "CONTAINS", "IS_OP", "LOAD_ATTR", "STORE", "UNARY")
_ALIKE = {
    "BINARY_SLICE": "BINARY_SUBSCR",
    "STORE_SLICE": "STORE_SUBSCR",
    "FORMAT_SIMPLE": "FORMAT_VALUE",
    "FORMAT_WITH_SPEC": "FORMAT_VALUE",
    "LOAD_METHOD": "LOAD_ATTR",
    "LOAD_SUPER_ATTR": "LOAD_ATTR",
    "LOAD_SMALL_INT": "LOAD_CONST",
    "LOAD_COMMON_CONSTANT": "LOAD_CONST",
    "LOAD_CLOSURE": "LOAD_DEREF",
    "RETURN_CONST": "LOAD_CONST RETURN_VALUE",
}


class Instruction(NamedTuple):
    """What is done, with which name or constant, on which lines of the file, the first and the last."""

    name: str
    argument: Any
    lines: tuple[int, int]


@cache
def instructions(code: CodeType) -> tuple[Instruction, ...]:
    """Return what a function does, without what only the interpreter's own book-keeping needs."""
    return tuple(_read(code))


def _read(code: CodeType) -> Iterator[Instruction]:
    ended = 0  # None's in a row: three of them are what a `with` is left by
    for step in dis.get_instructions(code):
        at, name = step.positions, _ALIKE.get(step.opname, step.opname)
        if name in _DROPPED or step.argval in _UNNAMED or at is None or at.lineno is None:
            continue
        if name == "CALL" and ended == 3:
            continue
        ended = ended + 1 if name == "LOAD_CONST" and step.argval is None else 0
        if name == "BINARY_OP" and step.argrepr == "[]":  # from 3.14 on
            name = "BINARY_SUBSCR"
        # Others, such as a jump or what begins a loop, may span the whole block that they stand before.
        spans = name.startswith(_EXPRESSIONS)
        lines = at.lineno, (at.end_lineno or at.lineno) if spans else at.lineno
        if isinstance(step.argval, tuple) and "_FAST" in name:  # two in one, from 3.13 on
            names = re.findall(r"(?:LOAD|STORE)_FAST", name)
            yield from (Instruction(n, a, lines) for n, a in zip(names, step.argval, strict=True))
            continue
        if name.startswith("LOAD_FAST"):
            name = "LOAD_FAST"
        for one in name.split():
            yield Instruction(one, step.argval, lines)
