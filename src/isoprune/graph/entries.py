"""The ways a network is called: its forward on example inputs, further calls and methods, train mode."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.overrides import TorchFunctionMode

from isoprune.graph.cloning import named_modules
from isoprune.types import IsopruneError


@dataclass(frozen=True)
class EntryPoint:
    """One way to call a network.

    Attributes:
        inputs: A tensor, a tuple of arguments, or a dict of keywords.
        method: What is called: "forward", or another method of the network or of a part ("encoder.embed").
        training: Whether the network is in train mode. Dropout passes what it is given, and norms of torch
            read their statistics, for neither changes which channels meet.
        outputs: Which outputs count: keys, names of attributes or indices; empty: all.
    """

    inputs: Any
    method: str = "forward"
    training: bool = False
    outputs: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        return f"{self.method}{' in train mode' if self.training else ''}"

    def run(self, model: nn.Module, inputs: Any = None) -> Any:
        """Return what the network gives, as far as it counts; sets its mode.

        Raises:
            IsopruneError: If an output that counts is not there.
        """
        args, kwargs = as_call(self.inputs if inputs is None else inputs)
        model.eval()
        if self.training:
            for _, module in named_modules(model):
                module.training = not _inert(module)
        call = model if self.method == "forward" else attrgetter(self.method)(model)
        with _WithoutDropout() if self.training else nullcontext():
            output = call(*args, **kwargs)
        # What a network gives in train mode (its losses) may have other names: all of it counts then.
        missing = [name for name in self.outputs if not _has(output, name)]
        if missing and not self.training:
            parts = ", ".join(_names(output)) or "no parts"
            raise IsopruneError(
                f"outputs= names {missing[0]!r}, which the {type(output).__name__} that "
                f"{type(model).__name__} returns does not have: it has {parts}."
            )
        return {str(n): _part(output, n) for n in self.outputs} if self.outputs and not missing else output

    def trained(self) -> EntryPoint:
        return replace(self, training=True)


def _has(output: Any, name: str | int) -> bool:
    if isinstance(name, int) and isinstance(output, list | tuple):
        return -len(output) <= name < len(output)
    return name in output if isinstance(output, Mapping) else hasattr(output, str(name))


def _part(output: Any, name: str | int) -> Any:
    if isinstance(output, Mapping):
        return output[name]
    return output[name] if isinstance(name, int) else getattr(output, name)


def _names(output: Any) -> list[str]:
    """Return what the parts of an output can be named by."""
    if isinstance(output, Mapping):
        return [repr(name) for name in output]
    if isinstance(output, list | tuple):
        return [*map(str, range(len(output))), *(repr(n) for n in getattr(output, "_fields", ()))]
    return [repr(name) for name in getattr(output, "__dict__", {}) if not name.startswith("_")]


def entries_of(
    model: nn.Module, example_inputs: Any, also: Iterable[Any], outputs: Sequence[str | int] = ()
) -> tuple[EntryPoint, ...]:
    """Return how a network is called: on ``example_inputs``, and as ``also`` says.

    Args:
        model: The network.
        example_inputs: What its forward takes.
        also: Further inputs of forward, pairs (method, its inputs), or entries.
        outputs: Which outputs of forward count; see `EntryPoint`.

    Raises:
        IsopruneError: If the network has no such method, or ``also`` or ``outputs`` is no list.
    """
    if (
        not isinstance(outputs, Sequence)
        or isinstance(outputs, str)
        or not all(isinstance(n, str | int) for n in outputs)
    ):
        raise IsopruneError(
            f"outputs= takes a list of keys, names or indices, as in outputs=['logits'], not {outputs!r}."
        )
    counted = tuple(outputs)
    out = [EntryPoint(example_inputs, outputs=counted)]
    for call in further_calls(also):
        if isinstance(call, EntryPoint):
            out.append(call)
        elif isinstance(call, tuple) and call and isinstance(call[0], str):
            out.append(EntryPoint(call[1] if len(call) == 2 else call[1:], _method(model, call[0])))
        else:
            out.append(EntryPoint(call, outputs=counted))
    return tuple(out)


def further_calls(also: Iterable[Any]) -> tuple[Any, ...]:
    """Return the calls that a user listed: one tensor, or one dict, is no list, though it has parts.

    Raises:
        IsopruneError: If it is none.
    """
    if isinstance(also, torch.Tensor | Mapping | str) or not isinstance(also, Iterable):
        raise IsopruneError(
            "also= takes a list of further calls, such as also=[(x, task)] for another call of forward, or "
            f"also=[('embed', x)] for a method; got a {type(also).__name__}."
        )
    return tuple(also)


def as_call(example_inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and keyword arguments that ``example_inputs`` stands for.

    A list is one argument, as a detector's images are, and as in `isoprune.types.task.forward`.
    """
    if isinstance(example_inputs, Mapping):
        return (), dict(example_inputs)
    if isinstance(example_inputs, tuple):
        return example_inputs, {}
    return (example_inputs,), {}


def _method(model: nn.Module, name: str) -> str:
    try:
        found = attrgetter(name)(model)
    except AttributeError:
        found = None
    if not callable(found):
        raise IsopruneError(
            f"also= names the method '{name}', which {type(model).__name__} does not have. Give pairs "
            "(method, its inputs), or further inputs of forward."
        )
    return name


def _inert(module: nn.Module) -> bool:
    """Tell whether a module's train mode changes values only: torch's own, and norms and dropout on them."""
    return type(module).__module__.startswith("torch.nn.") or isinstance(module, _NormBase | _DropoutNd)


_DROPOUTS = {
    F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout,
    torch.dropout, torch.dropout_, torch.feature_dropout, torch.alpha_dropout,
}  # fmt: skip


class _WithoutDropout(TorchFunctionMode):
    """Lets dropout pass what it is given: it draws one number per element, so no two widths draw alike."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _DROPOUTS:
            return args[0] if args else (kwargs or {})["input"]
        if func is F.scaled_dot_product_attention:
            args = (*args[:4], 0.0, *args[5:]) if len(args) > 4 else args
            kwargs = kwargs if len(args) > 4 else {**(kwargs or {}), "dropout_p": 0.0}
        return func(*args, **(kwargs or {}))
