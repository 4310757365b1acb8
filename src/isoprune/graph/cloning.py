"""A copy of the module tree that shares its tensors, as deepcopy makes it but several times as fast."""

from __future__ import annotations

import copy
import weakref
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from isoprune.graph.copying import deep
from isoprune.graph.outputs import tensors_of

# A module whose class says itself how it is copied is copied by deepcopy.
_OWN_WAYS = ("__deepcopy__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__new__")
# These only fill in what modules pickled by an old torch lack.
_FILL_IN = {
    kind.__setstate__ for kind in (_ConvNd, nn.MultiheadAttention, nn.Softmax, nn.LogSoftmax, nn.Upsample)
}
_ATOMS = {int, float, bool, str, bytes, complex, type(None), type}
_CONTAINERS = {dict, OrderedDict, list, set}
_OF_TORCH = {"_parameters", "_buffers", "_modules"}


def clone_sharing(model: nn.Module) -> nn.Module:
    """Return a copy of the module tree that shares every parameter and buffer with ``model``."""
    memo: dict[int, Any] = {}
    for _, module in named_modules(model):
        memo.update((id(t), t) for own in (module._parameters, module._buffers) for t in own.values())
        # What a hook computes from them before each forward (the masks of torch.nn.utils.prune) is no leaf,
        # and deepcopy refuses it.
        memo.update((id(t), t) for t in vars(module).values() if isinstance(t, Tensor) and not t.is_leaf)
    return _cloned(model, memo)


def copied(model: nn.Module) -> nn.Module:
    """Return a deep copy, also where a hook keeps a computed weight beside its original (masks, norms).

    Such a weight is the result of a computation, which `copy.deepcopy` refuses; its value is copied.
    """
    memo: dict[int, Tensor] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    return copy.deepcopy(model, memo)


def runnable_copy(model: nn.Module, convert: Callable[[Tensor], Tensor] | None = None) -> nn.Module:
    """Return a copy in eval mode whose forward writes into nothing of ``model``'s: parameters are shared.

    With ``convert``, every tensor, wherever a module holds it, is what that makes of it.
    """
    memo: dict[int, Any] = {}
    made = convert or Tensor.clone
    for _, module in named_modules(model):
        state = vars(module)
        for t in module._parameters.values():
            if t is not None and id(t) not in memo:
                memo[id(t)] = t if convert is None else nn.Parameter(convert(t.detach()), t.requires_grad)
        values = [v for k, v in state.items() if k not in _OF_TORCH and type(v) not in _ATOMS]
        for t in (*module._buffers.values(), *(t for v in values for t in tensors_of(v))):
            if t is not None and id(t) not in memo:
                memo[id(t)] = made(t.detach())
    return _cloned(model, memo).eval()


def _cloned(model: nn.Module, memo: dict[int, Any]) -> nn.Module:
    memo.pop(id(None), None)
    clone = _clone(model, memo)
    for module in list(memo.values()):
        if isinstance(module, nn.Module):
            for name, value in vars(module).items():
                if type(value) is weakref.ref and id(value()) in memo:  # deepcopy leaves it at the original
                    vars(module)[name] = weakref.ref(memo[id(value())])
    return clone


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
            state[name] = type(value)((k, t if t is None else memo[id(t)]) for k, t in value.items())
        elif name == "_compiled_call_impl":
            state[name] = None  # compiled for the original, it would run that
        elif type(value) in _ATOMS or (type(value) is tuple and all(type(v) in _ATOMS for v in value)):
            state[name] = value
        elif id(value) in memo:
            state[name] = memo[id(value)]
        elif type(value) in _CONTAINERS and not value:  # the hooks that most modules do not have
            state[name] = type(value)()
            if not name.startswith("_"):  # a hook may fill it
                memo[id(value)] = state[name]
        elif type(value) is list and all(type(v) in _ATOMS for v in value):
            state[name] = memo[id(value)] = value.copy()
        else:
            state[name] = deep(value, memo, f"{kind.__name__}.{name}")
    for name, child in children.items():
        state["_modules"][name] = None if child is None else _clone(child, memo)
    return new


@cache
def _is_plain_class(kind: type) -> bool:
    own = {way: getattr(kind, way, None) for way in _OWN_WAYS}
    ways = (f is getattr(nn.Module, way, None) or f in _FILL_IN for way, f in own.items())
    return not hasattr(kind, "__slots__") and all(ways)
