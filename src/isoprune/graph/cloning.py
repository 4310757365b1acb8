"""A copy of the module tree that shares its tensors, as deepcopy makes it but several times as fast."""

from __future__ import annotations

import copy
from collections import OrderedDict
from functools import cache
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

# A module whose class says itself how it is copied is copied by deepcopy.
_OWN_WAYS = ("__deepcopy__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__new__")
# These only fill in what modules pickled by an old torch lack.
_FILL_IN = {
    kind.__setstate__ for kind in (_ConvNd, nn.MultiheadAttention, nn.Softmax, nn.LogSoftmax, nn.Upsample)
}
_ATOMS = {int, float, bool, str, bytes, complex, type(None), type}
_CONTAINERS = {dict, OrderedDict, list, set}


def clone_sharing(model: nn.Module) -> nn.Module:
    """Return a copy of the module tree that shares every parameter and buffer with ``model``."""
    memo: dict[int, Any] = {}
    for _, module in named_modules(model):
        memo.update((id(t), t) for own in (module._parameters, module._buffers) for t in own.values())
        # What a hook computes from them before each forward (the masks of torch.nn.utils.prune) is no leaf,
        # and deepcopy refuses it.
        memo.update((id(t), t) for t in vars(module).values() if isinstance(t, Tensor) and not t.is_leaf)
    memo.pop(id(None), None)
    return _clone(model, memo)


def named_modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return what ``model.named_modules()`` yields, in time that does not grow with the depth."""
    found: dict[int, tuple[str, nn.Module]] = {}

    def visit(name: str, module: nn.Module) -> None:
        found[id(module)] = name, module
        for key, child in module._modules.items():
            if child is not None and id(child) not in found:
                visit(f"{name}.{key}" if name else key, child)

    visit("", model)
    return list(found.values())


def tensor_names(model: nn.Module) -> dict[int, tuple[str, Tensor]]:
    """Return the first name of every parameter and buffer, by identity; parameters come first."""
    names: dict[int, tuple[str, Tensor]] = {}
    modules = named_modules(model)
    for table in ("_parameters", "_buffers"):
        for name, module in modules:
            for key, tensor in vars(module)[table].items():
                if tensor is not None:
                    names.setdefault(id(tensor), (f"{name}.{key}" if name else key, tensor))
    return names


def _clone(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    if id(module) in memo:
        return memo[id(module)]
    kind = type(module)
    if not _is_plain_class(kind):
        return copy.deepcopy(module, memo)
    new = kind.__new__(kind)
    memo[id(module)] = new
    state, children = vars(new), vars(module)["_modules"]
    for name, value in vars(module).items():
        if value is children:
            state[name] = type(children)()
        elif name in ("_parameters", "_buffers") and all(t is None or id(t) in memo for t in value.values()):
            state[name] = value.copy()
        elif type(value) in _ATOMS or (type(value) is tuple and all(type(v) in _ATOMS for v in value)):
            state[name] = value
        elif type(value) in _CONTAINERS and not value:  # the hooks that most modules do not have
            state[name] = type(value)()
        elif type(value) is list and all(type(v) in _ATOMS for v in value):
            state[name] = value.copy()
        else:
            state[name] = copy.deepcopy(value, memo)
    for name, child in children.items():
        state["_modules"][name] = None if child is None else _clone(child, memo)
    return new


@cache
def _is_plain_class(kind: type) -> bool:
    own = {way: getattr(kind, way, None) for way in _OWN_WAYS}
    ways = (f is getattr(nn.Module, way, None) or f in _FILL_IN for way, f in own.items())
    return not hasattr(kind, "__slots__") and all(ways)
