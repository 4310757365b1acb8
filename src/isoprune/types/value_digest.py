"""A digest of any value that a user gives: of a function its code, of a tensor its bytes."""

from __future__ import annotations

import dataclasses
import dis
import functools
import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from operator import attrgetter, itemgetter, methodcaller
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from isoprune.types.importing import is_installed

# Their repr says all that they are.
_PLAIN = (
    str, bytes, bytearray, int, float, complex, Decimal, Fraction, numpy.generic, numpy.dtype, type(None),
    Enum, slice, os.PathLike, attrgetter, itemgetter, methodcaller,
    torch.dtype, torch.device, torch.layout, torch.memory_format,
)  # fmt: skip
_BUILTIN = BuiltinFunctionType | MethodDescriptorType | MethodWrapperType | WrapperDescriptorType


def value_digest(value: object) -> str:
    """Return 16 hexadecimal digits of SHA-256, equal in every process for values that do the same.

    Of a function counts its bytecode, its defaults, and what it reads of its closure and its module, in turn;
    not its name, its line or its comments. Of what an installed package defines the name counts, with the
    options and tensors of a module, a dataclass or a partial, and what a built-in method is bound to; of its
    other objects, such as generators of random numbers, only the type. Another version of Python has other
    bytecode, and so gives another digest.
    """
    total = hashlib.sha256()
    for part in _parts(value, {}):
        total.update(f"{len(part)}:".encode() + part)
    return total.hexdigest()[:16]


def _parts(value: Any, seen: dict[int, tuple[int, object]]) -> Iterator[bytes]:
    """Yield the bytes that tell a value from others; of one that was ``seen`` before, its number."""
    kind = type(value)
    yield f"{kind.__module__}.{kind.__qualname__}".encode()
    if isinstance(value, _PLAIN):
        yield repr(value).encode()
    elif id(value) in seen:
        yield str(seen[id(value)][0]).encode()
    else:
        seen[id(value)] = len(seen), value  # with the value: else the id could become another one's
        if isinstance(value, Tensor):
            yield f"{value.dtype} {tuple(value.shape)} {value.layout}".encode()
            yield _bytes_of(value.detach())
        elif isinstance(value, Set):
            # Sorted: the order of a set is another one in every process.
            yield from sorted(value_digest(part).encode() for part in value)
        else:
            for inner in (*_inside(value), *_attributes(value)):
                yield from _parts(inner, seen)


def _bytes_of(tensor: Tensor) -> bytes:
    if tensor.is_meta:
        return b""
    dense = tensor.cpu() if tensor.layout == torch.strided else tensor.cpu().to_dense()
    return dense.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _attributes(value: Any) -> Iterable[Any]:
    """Return what a container or an object of a user's class has in its ``__dict__`` and its slots."""
    if isinstance(value, FunctionType | MethodType | ModuleType | type) or dataclasses.is_dataclass(value):
        return []
    if isinstance(value, nn.Module) or not _is_of_package(type(value)):
        return [object.__getstate__(value)]
    return []


def _inside(value: Any) -> Iterable[Any]:
    """Return what a value is made of."""
    if isinstance(value, Mapping):
        return [part for item in value.items() for part in item]
    if isinstance(value, list | tuple | range):
        return list(value)
    if isinstance(value, numpy.ndarray):
        return value.tolist() if value.dtype.hasobject else [str(value.dtype), value.shape, value.tobytes()]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, FunctionType):
        return _of_function(value)
    if isinstance(value, CodeType):
        return [value.co_code, value.co_consts, value.co_names]
    if isinstance(value, _BUILTIN):
        of = getattr(value, "__self__", None), getattr(value, "__objclass__", None)
        return [value.__name__, *of]
    if isinstance(value, ModuleType | numpy.ufunc):
        return [value.__name__]
    if isinstance(value, re.Pattern):
        return [value.pattern, value.flags]
    if isinstance(value, type):
        return _of_class(value)
    if dataclasses.is_dataclass(value):
        return [type(value), *(getattr(value, f.name) for f in dataclasses.fields(value) if f.compare)]
    wrapped = [getattr(value, name, None) for name in ("fget", "__func__", "__wrapped__")]
    return [type(value), *wrapped]


def _of_function(function: FunctionType) -> list[Any]:
    given = [function.__defaults__, function.__kwdefaults__, *map(_content, function.__closure__ or ())]
    if is_installed(Path(function.__code__.co_filename)):
        return [f"{function.__module__}.{function.__qualname__}", *given]
    names = function.__globals__
    read = sorted(set(_globals_read(function.__code__)) & names.keys())
    return [function.__code__, *given, *(names[name] for name in read)]


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # its variable has no value yet
        return None


def _globals_read(code: CodeType) -> Iterator[str]:
    yield from (step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL")
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _globals_read(inner)


def _of_class(kind: type) -> Iterator[Any]:
    for base in kind.__mro__:
        yield f"{base.__module__}.{base.__qualname__}"
        for name, part in sorted(vars(base).items()) if not _is_of_package(base) else ():
            # Of what Python itself writes into a class only functions count, such as __call__.
            if not name.startswith("__") or isinstance(part, FunctionType):
                yield part


def _is_of_package(kind: type) -> bool:
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return kind.__module__ != "__main__" and (file is None or is_installed(Path(file)))
