"""Copies of module attributes beside tensors, closures too; what cannot be copied is shared, or named."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from types import CellType, CoroutineType, FunctionType, GeneratorType
from typing import Any

import torch
from torch import Tensor

from isoprune.graph.outputs import attributes
from isoprune.types import IsopruneError

Memo = dict[int, Any]
_ONCE = GeneratorType | CoroutineType  # what running on uses up


def deep(value: Any, memo: Memo, where: str) -> Any:
    """Return what deepcopy does, and copies of functions whose closures hold what was copied.

    What has no copy (a lock, an open file) is shared, and computed tensors are copied by value.

    Args:
        value: Anything a module holds.
        memo: Copies by the identity of the original, as of deepcopy.
        where: What it is called in a message.

    Raises:
        IsopruneError: If it cannot be copied and cannot be shared, such as a generator.
    """
    before = len(memo)
    try:
        for function in _functions(value):
            _copied_function(function, memo, where)
        return _with_functions(value, copy.deepcopy(value, memo), memo)
    except IsopruneError:
        raise
    except Exception:
        for key in list(memo)[before:]:  # copies that are not whole
            if key != id(memo):
                del memo[key]
        _share(value, memo, where, {})
    try:
        return _with_functions(value, copy.deepcopy(value, memo), memo)
    except Exception as error:
        raise IsopruneError(
            f"{where} cannot be copied: {type(error).__name__}: {error}. Take it off the module while it is "
            "pruned, or give its class a __deepcopy__."
        ) from error


def _with_functions(value: Any, made: Any, memo: Memo) -> Any:
    """Return a copy with the copies of functions in it, which deepcopy may share."""
    if type(value) is FunctionType:
        return memo.get(id(value), made)
    if isinstance(value, dict):
        for key, one in value.items():
            if type(one) is FunctionType and key in made:
                made[key] = memo.get(id(one), one)
    return made


def _functions(value: Any) -> Iterator[FunctionType]:
    """Yield the functions with a closure or defaults that an attribute, or a table of hooks, holds itself."""
    for one in value.values() if isinstance(value, dict) else (value,):
        if type(one) is FunctionType and (one.__closure__ or one.__defaults__ or one.__kwdefaults__):
            yield one


def _copied_function(function: FunctionType, memo: Memo, where: str) -> None:
    """Enter a copy of a function, which deepcopy would share, whose closure holds copies."""
    if id(function) in memo:
        return
    cells = tuple(CellType() for _ in function.__closure__ or ())
    made = FunctionType(function.__code__, function.__globals__, function.__name__, None, cells or None)
    made.__dict__.update(function.__dict__)
    made.__qualname__ = function.__qualname__
    memo[id(function)] = made
    for cell, old in zip(cells, function.__closure__ or (), strict=True):
        try:
            cell.cell_contents = deep(old.cell_contents, memo, f"what {where} closes over")
        except ValueError as error:
            if isinstance(error, IsopruneError):
                raise
            # An empty cell stays one.
    made.__defaults__ = deep(function.__defaults__, memo, f"the defaults of {where}")
    made.__kwdefaults__ = deep(function.__kwdefaults__, memo, f"the defaults of {where}")


def _share(value: Any, memo: Memo, where: str, seen: Memo) -> None:
    """Enter what has no copy, wherever it is reached from ``value``, as its own copy."""
    if id(value) in memo or id(value) in seen:
        return
    seen[id(value)] = value
    if isinstance(value, _ONCE):
        raise IsopruneError(
            f"{where} holds a {type(value).__name__}, which running the network would use up and which has "
            "no copy. Take it off the module while it is pruned."
        )
    if isinstance(value, Tensor):
        if not value.is_leaf:
            memo[id(value)] = value.detach().clone()
        return
    if isinstance(value, torch.Generator):
        memo[id(value)] = torch.Generator(value.device).set_state(value.get_state())
        return
    for child in attributes(value):
        _share(child, memo, where, seen)
    try:
        copy.deepcopy(value, dict(memo))
    except Exception:
        if not isinstance(value, dict | list | tuple | set):
            memo[id(value)] = value
