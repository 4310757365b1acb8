"""How code uses a value that Python takes out of a tensor: whether it decides, and by which numbers.

A number, a list or an array of numpy tells nothing of what it is compared with; the lines do that it flows
through, in the function that takes it, in those that it is handed to, and in those that it is returned to.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import CodeType, FrameType, FunctionType, MethodType
from typing import Any

from isoprune.graph.instructions import Instruction, instructions

_NOT_THE_NETWORK = ("isoprune.", "torch.", "contextlib", "jaxtyping.", "beartype.", "numpy.", "statistics")
_CALLER = "isoprune.graph.entries"  # where a network is called
_SIZES = {"len", "shape", "size", "numel", "nelement", "ndim", "tolist", "numpy", "list"}
_FILLED = {"append", "add", "update", "insert", "extend", "setdefault"}
_DEEP = 4  # functions that hand a value on


@dataclass(frozen=True)
class Decided:
    """How code decides by a value: the numbers beside it, and whether its size is asked.

    ``opaque``: something made of the value decides (`math.sqrt(v)`, `table[v]`), so that its own comparisons
    do not tell all.
    """

    numbers: tuple[int | float, ...] = ()
    sizes: bool = False
    opaque: bool = False


def frames() -> Iterator[FrameType]:
    """Yield the frames of the network's own code that are running, the innermost first."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") != _CALLER:
        if not f"{frame.f_globals.get('__name__', '')}.".startswith(_NOT_THE_NETWORK):
            yield frame
        frame = frame.f_back


def decided() -> Decided | None:
    """Return how the running code decides by the value that it reads of a tensor now; None if it does not."""
    numbers: dict[int | float, None] = {0: None}
    found = sizes = opaque = sized = False
    for frame in frames():
        uses = _uses(frame.f_code, frame.f_lineno, (), sized)
        scope = _Scope.of(frame)
        later = [_uses(code, None, (name,)) for name in sorted(uses.stored) for code in scope.methods()]
        for one in (uses, *_handed_on(uses, scope, _DEEP, set()), *later):
            found |= one.decides
            sizes |= one.sizes
            opaque |= one.opaque or one is not uses
            numbers |= dict.fromkeys([*one.numbers, *scope.numbers(one.beside)])
        if not uses.returned:
            break
        sized |= uses.size_returned
    return Decided(tuple(numbers), sizes, opaque) if found else None


@dataclass(frozen=True)
class _Uses:
    """What one function does with a value: see `Decided`; and where else the value goes."""

    numbers: frozenset[int | float] = frozenset()
    beside: frozenset[str] = frozenset()  # names of what stands beside it where it decides
    decides: bool = False
    sizes: bool = False
    opaque: bool = False
    returned: bool = False
    size_returned: bool = False
    handed: frozenset[str] = frozenset()  # names of functions that it may be an argument of
    stored: frozenset[str] = frozenset()  # attributes


@cache
def _uses(code: CodeType, line: int | None, names: tuple[str, ...], sized: bool = False) -> _Uses:
    """Return what a function does with what a line makes, or with what has one of these names."""
    groups = _groups(code)
    found = _flow(groups, [g for g in groups if g.holds(line)], set(names))
    of_sizes = found if sized else _flow(groups, [g for g in found if g.names & _SIZES], set())
    deciding = [g for g in found if g.decides or g.picks]
    return _Uses(
        frozenset(n for g in deciding for n in g.numbers),
        frozenset(n for g in deciding for n in g.loads | g.names),
        bool(deciding),
        any(g.compares for g in of_sizes),
        any(g.opaque for g in found),
        any(g.returns for g in found),
        any(g.returns for g in of_sizes),
        frozenset(n for g in found for n in g.names),
        frozenset(n for g in found for n in g.attributes),
    )


def _flow(groups: Sequence[_Group], first: Sequence[_Group], known: set[str]) -> list[_Group]:
    """Return the statements that a value flows through from the first ones, and from those with its names."""
    touched: list[_Group] = []
    left = [g for g in groups if g in first or known & g.loads]
    while left:
        touched += left
        known = known.union(*(g.stores | g.attributes for g in left))
        left = [g for g in groups if g not in touched and known & g.loads]
    return touched


@dataclass(eq=False)
class _Group:
    """The instructions of one statement, as far as their lines tell."""

    first: int
    last: int
    steps: list[Instruction]

    def holds(self, line: int | None) -> bool:
        return line is not None and self.first <= line <= self.last

    def __post_init__(self) -> None:
        named = [(s.name, s.argument) for s in self.steps if isinstance(s.argument, str)]
        self.loads = {n for op, n in named if op in _LOADS}
        self.names = {n for op, n in named if op in ("LOAD_GLOBAL", "LOAD_ATTR", "LOAD_NAME")}
        self.stores = {n for op, n in named if op in ("STORE_FAST", "STORE_DEREF", "STORE_GLOBAL")}
        self.attributes = {n for op, n in named if op == "STORE_ATTR"}
        for i, step in enumerate(self.steps):  # what is put into a container is in it
            if step.name == "STORE_SUBSCR" or (step.name == "LOAD_ATTR" and step.argument in _FILLED):
                near = self.steps[max(0, i - 3) : i]
                self.stores |= {s.argument for s in near if s.name in _LOADS}
        self.stores -= {"self"}
        ops = {s.name for s in self.steps}
        self.picks, self.compares = "BINARY_SUBSCR" in ops, any(map(_compares, ops))
        self.decides = self.compares or bool(_LOOPS & ops)
        self.returns = "RETURN_VALUE" in ops
        self.opaque = bool(_OPAQUE & ops) or any(
            op in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF") and n not in ("torch", "F", "super")
            for op, n in named
        )
        self.numbers = {n for s in self.steps if s.name == "LOAD_CONST" for n in _numbers_in(s.argument)}


_OPAQUE = {"BINARY_SUBSCR", "FORMAT_VALUE", "CONTAINS_OP"}
_LOOPS = {"FOR_ITER", "GET_ITER"}
_LOADS = {"LOAD_FAST", "LOAD_DEREF", "LOAD_ATTR"}


def _compares(op: str) -> bool:
    return op in ("COMPARE_OP", "CONTAINS_OP", "IS_OP") or ("JUMP" in op and "_IF_" in op)


def _numbers_in(constant: Any) -> Iterator[int | float]:
    if type(constant) in (int, float):
        yield constant
    elif isinstance(constant, tuple | frozenset):
        for part in constant:
            yield from _numbers_in(part)
    elif isinstance(constant, slice):  # a constant from 3.14 on
        yield from _numbers_in((constant.start, constant.stop, constant.step))
    elif isinstance(constant, CodeType):
        for part in constant.co_consts:
            yield from _numbers_in(part)


@cache
def _groups(code: CodeType) -> tuple[_Group, ...]:
    """Return the statements of a function: instructions whose lines overlap are of one."""
    out: list[_Group] = []
    for step in sorted(instructions(code), key=lambda s: s.lines):
        first, last = step.lines
        if out and first <= out[-1].last:
            out[-1].last = max(out[-1].last, last)
            out[-1].steps.append(step)
        else:
            out.append(_Group(first, last, [step]))
    return tuple(_Group(g.first, g.last, [*g.steps, *_nested(g.steps)]) for g in out)


def _nested(steps: Iterable[Instruction]) -> Iterator[Instruction]:
    """Yield the instructions of comprehensions and lambdas that stand in a statement."""
    for step in steps:
        if isinstance(step.argument, CodeType) and step.argument.co_name.startswith("<"):
            own = instructions(step.argument)
            yield from (s for s in own if not s.name.startswith("RETURN"))
            yield from _nested(own)


@dataclass
class _Scope:
    """Where the names of a function are looked up."""

    globals: Mapping[str, Any]
    local: Mapping[str, Any]  # local names; empty where a function does not run

    @classmethod
    def of(cls, frame: FrameType) -> _Scope:
        return cls(frame.f_globals, dict(frame.f_locals))

    def __post_init__(self) -> None:
        self.owner = self.local.get("self", next(iter(self.local.values()), None))

    def numbers(self, names: Iterable[str]) -> Iterator[int | float]:
        """Yield the numbers that names stand for: local, of the module that runs, or of the file."""
        for name in names:
            for place in (self.local, getattr(self.owner, "__dict__", {}), self.globals):
                value = place.get(name)
                if isinstance(value, float):
                    yield float(value)  # an attribute that is followed is one, too
                elif isinstance(value, int) and not isinstance(value, bool):
                    yield int(value)

    def function(self, name: str) -> FunctionType | None:
        """Return the function of a name, or the method of the object that runs; None if there is none."""
        method = getattr(type(self.owner), name, None)
        for value in (self.local.get(name), method, self.globals.get(name)):
            value = value.__func__ if isinstance(value, MethodType) else value
            if isinstance(value, FunctionType) and not f"{value.__module__}.".startswith(_NOT_THE_NETWORK):
                return value
        return None

    def methods(self) -> Iterator[CodeType]:
        for base in type(self.owner).__mro__:
            if not f"{base.__module__}.".startswith((*_NOT_THE_NETWORK, "builtins")):
                yield from (v.__code__ for v in vars(base).values() if isinstance(v, FunctionType))


def _handed_on(uses: _Uses, scope: _Scope, deep: int, seen: set[CodeType]) -> Iterator[_Uses]:
    """Yield what the functions do that a value is handed to."""
    for name in uses.handed if deep else ():
        function = scope.function(name)
        if function is None or function.__code__ in seen:
            continue
        code = function.__code__
        seen.add(code)
        parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        own = _uses(code, None, tuple(p for p in parameters if p != "self"))
        yield own
        yield from _handed_on(own, _Scope(function.__globals__, {}), deep - 1, seen)
