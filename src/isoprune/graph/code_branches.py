"""What the code of a network branches on that a recorded forward does not show: its mode, the batch size."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from isoprune.graph.cloning import named_modules
from isoprune.graph.instructions import Instruction, instructions

_PASSED = {"UNARY_NOT", "COPY"}
_NEAR = 8  # instructions between a size and what it is compared with
_STANDARD, _OURS = sysconfig.get_paths()["stdlib"], str(Path(__file__).parents[1])
_LARGEST, _MOST = 64, 4  # batch sizes


def has_training_branch(model: nn.Module) -> bool:
    """Tell whether the class of a module, other than torch's own, branches on ``self.training``."""
    kinds = {type(module) for _, module in named_modules(model)}
    return any(_has_training_branch(kind) for kind in kinds if not issubclass(kind, _NormBase))


def batch_sizes_compared(running: Iterable[CodeType | None]) -> tuple[int, ...]:
    """Return the batch sizes on both sides of the numbers that code which ran compares a first size with."""
    numbers = {n for code in running if code is not None for n in _batch_sizes(code)}
    sizes = sorted({n + d for n in numbers for d in (-1, 0, 1)} & set(range(1, _LARGEST + 1)))
    return tuple(sizes[:_MOST])


@cache
def _has_training_branch(kind: type) -> bool:
    """Tell whether code of a class, or of those that it is made of, except torch's, branches on its mode."""
    own = (base for base in kind.__mro__ if not base.__module__.startswith("torch.") and base is not object)
    return any(_asks_for_training(code) for base in own for code in dict.fromkeys(_codes_of(base)))


def _codes_of(base: type) -> Iterator[CodeType]:
    """Yield the code of methods, of functions that a class holds, and of those that they name.

    Those of other files are followed as far as nobody installed them: a library's helpers are many.
    """
    for value in vars(base).values():
        parts = (
            value.values()
            if isinstance(value, dict)
            else value
            if isinstance(value, list | tuple)
            else (value,)
        )
        for one in parts:
            function = one.fget if isinstance(one, property) else getattr(one, "__func__", one)
            if isinstance(function, FunctionType):
                for f in _called(function, {function}):
                    yield f.__code__
                    yield from (c for c in f.__code__.co_consts if isinstance(c, CodeType))


def _called(function: FunctionType, seen: set[FunctionType]) -> Iterator[FunctionType]:
    """Yield a function and those that it names, as `helper` or as `file.helper`."""
    yield function
    names = function.__code__.co_names
    named = [function.__globals__.get(name) for name in names]
    named += [getattr(m, n, None) for m in named if isinstance(m, ModuleType) for n in names]
    for other in named:
        if not isinstance(other, FunctionType) or other in seen:
            continue
        if other.__module__ == function.__module__ or not _installed(other) | _installed(function):
            seen.add(other)
            yield from _called(other, seen)


def _installed(function: FunctionType) -> bool:
    """Tell whether a function is of Python, of a package, or of ours."""
    file = function.__code__.co_filename
    return file.startswith((_STANDARD, _OURS)) or "site-packages" in file


def _asks_for_training(function: CodeType) -> bool:
    """Tell whether a jump follows at once where the attribute is read (not where it is handed on)."""
    if "training" not in function.co_names:
        return False
    code = instructions(function)
    for i, step in enumerate(code):
        if step.name == "LOAD_ATTR" and step.argument == "training":
            after = [s.name for s in code[i + 1 : i + 4] if s.name not in _PASSED]
            if after and "JUMP" in after[0]:
                return True
    return False


@cache
def _batch_sizes(function: CodeType) -> tuple[int, ...]:
    """Return the numbers that `len(x)`, `x.shape[0]` or `x.size(0)` is compared with."""
    if not {"len", "shape", "size"} & set(function.co_names):
        return ()
    code = instructions(function)
    return tuple(n for i, step in enumerate(code) if step.name == "COMPARE_OP" for n in _compared(code[:i]))


def _compared(before: Sequence[Instruction]) -> Iterator[int]:
    near = before[-_NEAR:]
    numbers = [step.argument for step in near if step.name == "LOAD_CONST" and type(step.argument) is int]
    for i, step in enumerate(near):
        if step.argument in ("shape", "size"):
            first = next((s for s in near[i + 1 :] if s.name == "LOAD_CONST"), None)
            if first is None or first.argument != 0:
                return
            numbers.remove(0)
            yield from numbers
            return
        if step.argument == "len":
            if not {"shape", "size"} & {s.argument for s in near[i + 1 :] if isinstance(s.argument, str)}:
                yield from numbers  # else it counts dimensions
            return
