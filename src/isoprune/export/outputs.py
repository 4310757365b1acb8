"""A network's inputs and outputs as flat, named tensors, which is all that ONNX knows."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor, nn

from isoprune.graph.entries import as_call

Named = Iterator[tuple[str, Tensor]]


def named_tensors(value: Any, name: str = "output") -> Named:
    """Yield name and tensor of everything in a network's output: sequences, mappings, dataclasses."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from named_tensors(item, str(key))
    elif isinstance(value, tuple | list):
        names = getattr(value, "_fields", None) or [f"{name}_{i}" if i else name for i in range(len(value))]
        for part, item in zip(names, value, strict=True):
            yield from named_tensors(item, part)
    elif is_dataclass(value) and not isinstance(value, type):
        for part in fields(value):
            yield from named_tensors(getattr(value, part.name), part.name)


def by_name(value: Any) -> dict[str, Tensor]:
    """Return those tensors by name; one that comes again, as of a second image, has a number behind it."""
    found: dict[str, Tensor] = {}
    for name, tensor in named_tensors(value):
        numbered = (f"{name}_{i}" for i in range(1, len(found) + 2))
        found[name if name not in found else next(n for n in numbered if n not in found)] = tensor
    return found


def inputs_of(model: nn.Module, example_inputs: Any) -> dict[str, Any]:
    """Return the arguments of the call by the names that the forward gives them; what it adds is numbered."""
    args, kwargs = as_call(example_inputs)
    try:
        parameters = list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    plain = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names = [*plain, *(f"input_{i}" for i in range(len(plain), len(args)))]
    return {**dict(zip(names, args, strict=False)), **kwargs}


class TensorsOnly(nn.Module):
    """A network whose output is the tuple of the tensors in its output."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        return tuple(tensor for _, tensor in named_tensors(self.model(*args, **kwargs)))
