"""Which of a network's inputs is differentiated by, and which part of its output is differentiated."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from isoprune.types import IsopruneError
from isoprune.types.errors import guess

Inputs = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]
InputPick = str | int | None
OutputPick = Callable[[Any], Tensor] | str | int | None

_Forward = Callable[[tuple[Any, ...], dict[str, Any]], Any]
_Evaluate = Callable[[Tensor, Tensor], Any]


def arguments(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and keyword arguments that ``inputs`` stands for."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)), {}


def pick_input(
    model: nn.Module,
    forward: _Forward,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    pick: InputPick,
    stack: contextlib.ExitStack,
) -> tuple[Tensor, _Evaluate]:
    """Return x, and the network's output as a function of x and of the rows of the other inputs.

    For a submodule's name, a hook put on it until ``stack`` is left gives x for its output.
    """
    modules = dict(model.named_modules())
    if isinstance(pick, str) and pick not in kwargs:
        if pick not in modules:
            hint = guess(pick, [*kwargs, *modules])
            raise IsopruneError(f"input={pick!r} is neither a key of the inputs nor a submodule.{hint}")
        return _module_output(modules[pick], pick, forward, args, kwargs, stack)
    leaves, structure = pytree.tree_flatten((args, kwargs))
    place = _place(model, leaves, args, kwargs, pick)
    samples = len(leaves[place])

    def evaluate(x: Tensor, rows: Tensor) -> Any:
        chosen = [cut(t, rows, samples) for t in leaves]
        chosen[place] = x
        return forward(*pytree.tree_unflatten(chosen, structure))

    return leaves[place], evaluate


def pick_output(out: Any, pick: OutputPick) -> Tensor:
    """Return the floating tensor that ``pick`` names: see `sample_function`."""
    if callable(pick):
        out = pick(out)
    elif isinstance(pick, str):
        parts = out if isinstance(out, Mapping) else getattr(out, "__dict__", {})
        if isinstance(out, Tensor) or (pick not in parts and not hasattr(out, pick)):
            raise IsopruneError(
                f"output={pick!r} names a part of the output, and the network returns a {type(out).__name__}"
                f"{' with ' + ', '.join(map(str, parts)) if parts and not isinstance(out, Tensor) else ''}. "
                "Leave output= out where it returns one tensor; else give a key, an index or a function."
            )
        out = out[pick] if isinstance(out, Mapping) and pick in out else getattr(out, pick)
    elif isinstance(pick, int):
        out = out[pick]
    if isinstance(out, Tensor) and out.is_floating_point():
        return out
    what = f"of {out.dtype}" if isinstance(out, Tensor) else f"a {type(out).__name__}"
    keys = f" with {', '.join(map(str, out))}" if isinstance(out, Mapping) else ""
    raise IsopruneError(
        f"The output to differentiate is {what}{keys}, not a tensor of floats. Pick one with output=, a key, "
        "an index or a function of the output."
    )


def _place(
    model: nn.Module, leaves: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any], pick: InputPick
) -> int:
    tensors = [i for i, t in enumerate(leaves) if isinstance(t, Tensor)]
    if pick is None:
        floating = [i for i in tensors if leaves[i].is_floating_point()]
        if len(floating) == 1:
            return floating[0]
        if floating:
            raise IsopruneError(
                f"The inputs hold {len(floating)} floating tensors. Say which one to differentiate: input= "
                "its key or index."
            )
    else:
        chosen = (
            kwargs.get(pick)
            if isinstance(pick, str)
            else args[pick]
            if -len(args) <= pick < len(args)
            else None
        )
        if not isinstance(chosen, Tensor):
            raise IsopruneError(
                f"input={pick!r} is no tensor of the inputs. Pass a key or index of one, or a submodule's "
                "name."
            )
        if chosen.is_floating_point():
            return next(i for i in tensors if leaves[i] is chosen)
    tables = [
        repr(name) for name, m in model.named_modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag))
    ]
    raise IsopruneError(
        f"The input is of {', '.join(sorted({str(leaves[i].dtype) for i in tensors})) or 'no tensor'}, which "
        "has no derivative. Differentiate an embedding's or layer's output: "
        f"input={' or input='.join(tables) or 'its name'}."
    )


def _module_output(
    module: nn.Module,
    name: str,
    forward: _Forward,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    stack: contextlib.ExitStack,
) -> tuple[Tensor, _Evaluate]:
    seen: list[Tensor] = []
    given: list[Tensor] = []

    def exchange(_module: nn.Module, _args: Any, out: Any) -> Any:
        first = out[0] if isinstance(out, (tuple, list)) else out
        seen.append(first)
        if not given:
            return out
        return type(out)([given[-1], *out[1:]]) if isinstance(out, (tuple, list)) else given[-1]

    stack.callback(module.register_forward_hook(exchange).remove)
    with torch.no_grad():
        forward(args, kwargs)
    if len(seen) != 1 or not isinstance(seen[0], Tensor) or not seen[0].is_floating_point():
        what = f"runs {len(seen)} times in a forward" if len(seen) != 1 else "gives no tensor of floats"
        raise IsopruneError(
            f"input={name!r}: the module {what}. Pick one that runs once and gives a tensor of floats."
        )
    x = seen[0].detach().clone()

    def evaluate(z: Tensor, rows: Tensor) -> Any:
        given.append(z)
        try:
            return forward(*pytree.tree_map_only(Tensor, lambda t: cut(t, rows, len(x)), (args, kwargs)))
        finally:
            given.clear()
            seen.clear()

    return x, evaluate


def cut(t: Any, rows: Tensor, samples: int) -> Any:
    """Return the samples ``rows`` of a tensor with one sample a row; anything else as it is."""
    return t[rows] if isinstance(t, Tensor) and t.ndim > 0 and len(t) == samples else t
