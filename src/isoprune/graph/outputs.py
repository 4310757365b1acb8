"""Every tensor that can be reached in what a forward returns, and where; what is opaque is refused."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from dataclasses import is_dataclass
from enum import Enum
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from isoprune.types import IsopruneError

Number = bool | int | float | complex

_ATOMS = (
    *(str, bytes, bytearray, type, type(None), type(...), Enum, range, slice, ModuleType, weakref.ref),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format, torch.Size, nn.Module),
)
_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType, partial)
_ROWS = (tuple, list, deque, KeysView, ValuesView, ItemsView)
# How much of what cannot be looked into is refused: all of it where it is an output itself; in an object,
# whose locks and functions are no outputs, only what values hide in; nothing in what a class gives all its
# objects.
_ALL, _VALUES, _NOTHING = 2, 1, 0


class OpaqueOutput(IsopruneError):
    """An output in which no tensor can be seen, so that nothing could be proven of it."""


def leaves(output: Any) -> dict[str, Tensor | Number]:
    """Return all tensors and numbers of a forward's output, by where they stand in it.

    Looked into are containers, attributes (`__dict__`, `__slots__`, those of the class), registered pytrees
    and tensors that wrap others, nested in any way and each once. Modules are not: their weights are no
    outputs.

    Raises:
        OpaqueOutput: For what cannot be looked into (a generator, an array of numpy, a function), named; and
            if nothing was found.
    """
    found = dict(_leaves(output, "output", {}, _ALL))
    if not found:
        raise OpaqueOutput(
            f"The network returns {_kind(output)} in which there is no tensor, so nothing could be proven "
            "of it. Return its tensors, or prune a module around it whose forward does."
        )
    return found


def tensors_in(output: Any) -> Iterator[Tensor]:
    """Yield the tensors of real numbers in a forward's output, whatever else there is in it."""
    for _, value in _leaves(output, "output", {}, _NOTHING):
        if isinstance(value, Tensor) and value.is_floating_point():
            yield value


def tensors_of(value: Any) -> list[Tensor]:
    """Return the tensors of any type that can be reached from an object; modules in it are passed over."""
    return [t for _, t in _leaves(value, "", {}, _NOTHING) if isinstance(t, Tensor)]


def attributes(value: Any) -> list[Any]:
    """Return what an object holds: elements of a container, attributes of an instance; empty if nothing."""
    if isinstance(value, (_ATOMS, Number)):
        return []
    return [child for _, child, refuse in _children(value) or () if refuse > _NOTHING]


def _leaves(
    value: Any, path: str, seen: dict[int, Any], refuse: int
) -> Iterator[tuple[str, Tensor | Number]]:
    if isinstance(value, Number):
        if refuse == _ALL:  # those of an object of one's own are its settings
            yield path, value
    elif isinstance(value, np.generic):
        yield from _leaves(value.item(), path, seen, refuse)
    elif isinstance(value, _ATOMS) or id(value) in seen or (refuse == _ALL and _is_cache(value)):
        return
    elif isinstance(value, Tensor) and not _parts_of(value):
        yield path, value
    else:
        seen[id(value)] = value  # kept, so that no other object gets its place in memory
        children = _children(value)
        if children is None:
            if refuse == _ALL or (refuse == _VALUES and isinstance(value, np.ndarray | Iterator)):
                raise OpaqueOutput(
                    f"The network's {path} is {_kind(value)}, in which no tensors can be seen, so nothing "
                    "could be proven of it. Return the tensors themselves, or prune a module around the "
                    "network whose forward does."
                )
            return
        for step, child, strictness in children:
            yield from _leaves(child, path + step, seen, min(strictness, refuse))


def _is_cache(value: Any) -> bool:
    """Tell whether this is what a network of transformers hands to its own next call: keys and values.

    They are as wide as its heads, which may go, and the layers that made them read them.
    """
    return any(
        c.__name__ == "Cache" and c.__module__.startswith("transformers.") for c in type(value).__mro__
    )


def _kind(value: Any) -> str:
    if value is None:
        return "None,"
    kind = type(value)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


_Children = list[tuple[str, Any, int]]


def _children(value: Any) -> _Children | None:
    """Return what an object holds, by the step to it; None if that cannot be told."""
    if isinstance(value, Tensor):
        return [(f".{name}", part, _ALL) for name, part in _parts_of(value).items()]
    if isinstance(value, Mapping):
        return [(f"[{key if isinstance(key, int) else str(key)!r}]", v, _ALL) for key, v in value.items()]
    if isinstance(value, _ROWS):
        return [(f"[{i}]", v, _ALL) for i, v in enumerate(value)]
    if isinstance(value, set | frozenset):
        # Tensors in a set have no order, so two networks' could not be told apart.
        return [("{}", v, _ALL) for v in value] if len(value) < 2 or not _holds_tensors(value) else None
    if isinstance(value, (np.ndarray, *_FUNCTIONS)):
        return None
    node = pytree.SUPPORTED_NODES.get(type(value))
    if node is not None:
        return [(f"[{i}]", v, _ALL) for i, v in enumerate(node.flatten_fn(value)[0])]
    return _attributes(value) or None


def _holds_tensors(value: Any) -> bool:
    return any(isinstance(v, Tensor) for one in value for _, v in _leaves(one, "", {}, _NOTHING))


def _parts_of(tensor: Tensor) -> dict[str, Any]:
    """Return the tensors that a tensor is made of, or that hang on it; none if it stands for itself."""
    if is_traceable_wrapper_subclass(tensor):
        return {name: getattr(tensor, name) for name in tensor.__tensor_flatten__()[0]}
    if tensor.is_nested:
        return {f"unbind()[{i}]": part for i, part in enumerate(tensor.unbind())}
    hung = {
        k: v for k, v in getattr(tensor, "__dict__", {}).items() if isinstance(v, Tensor) and v is not tensor
    }
    return {"data": tensor.detach(), **hung} if hung else {}


def _attributes(value: Any) -> _Children:
    own = _ALL if is_dataclass(value) or isinstance(value, SimpleNamespace) else _VALUES
    found: dict[str, tuple[Any, int]] = {}
    for kind in reversed(type(value).__mro__):
        if kind.__module__ == "builtins":
            continue
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name):
                found[name] = getattr(value, name), own
        for name, shared in vars(kind).items():
            if isinstance(shared, Tensor | tuple | list | dict) and not name.startswith("__"):
                found[name] = shared, _NOTHING
    found.update({str(name): (v, own) for name, v in getattr(value, "__dict__", {}).items()})
    return [(f".{name}", v, refuse) for name, (v, refuse) in found.items()]
