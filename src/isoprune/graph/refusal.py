"""Why a forward could not be recorded, and what to do about it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from isoprune.graph.cloning import runnable_copy
from isoprune.graph.entries import EntryPoint, as_call
from isoprune.graph.outputs import tensors_of
from isoprune.graph.recording import Node
from isoprune.types import IsopruneError


def refusal(
    model: nn.Module, entry: EntryPoint, error: Exception, nodes: Sequence[Node], *, further: bool = False
) -> IsopruneError:
    """Return the error to raise: where the recording stopped, and whether the forward itself runs.

    Args:
        model: What was to be recorded; copies of it run.
        entry: The call that was recorded.
        nodes: What was recorded before the error.
        further: Whether the call is one of ``also``.
    """
    kind, why, example_inputs = type(model).__name__, _line(error), entry.inputs
    call = f"The {entry.method} of {kind}"
    scripted = next(
        (n for n, m in model.named_modules() if n and isinstance(m, torch.jit.ScriptModule)), None
    )
    if scripted is not None:
        return IsopruneError(
            f"{kind} holds a TorchScript module, {scripted!r}, whose code is fixed to its sizes. Put the "
            "nn.Module that it was made from in its place, and trace or script the smaller network."
        )
    empty = next((t for t in tensors_of(example_inputs) if not t.numel()), None)
    if empty is not None:
        return IsopruneError(
            f"{call} could not be recorded on example_inputs with a tensor of shape {tuple(empty.shape)}, in "
            f"which there is nothing ({why}). Give at least one sample."
        )
    name = _takes_one(model)
    if isinstance(example_inputs, Mapping) and name is not None and name not in example_inputs:
        return IsopruneError(
            f"{call} takes one argument, {name!r}, and example_inputs is a dict, which is "
            f"given as keywords ({why}). If the dict is that argument, wrap it: example_inputs=(batch,)."
        )
    args, _ = as_call(example_inputs)
    try:
        with torch.no_grad():
            inputs = tree_map_only(torch.Tensor, torch.Tensor.clone, copy.copy(example_inputs))
            entry.run(runnable_copy(model), inputs)
    except Exception as own:
        if isinstance(example_inputs, tuple) and _wants_all(model, args):
            way = (
                "A tuple is given as arguments: where it is one argument, wrap it: example_inputs=(inputs,)."
            )
        else:
            way = "Give example_inputs with which model(...) runs: a tensor, a tuple or a dict of keywords."
        if further:
            return IsopruneError(f"{call} does not run on what also= gives it: {_line(own)}. {way}")
        return IsopruneError(f"{call} does not run on these example_inputs: {_line(own)}. {way}")
    where = f"after {nodes[-1].where}" if nodes else "at its start"
    return IsopruneError(
        f"{call} runs, but could not be recorded: it stopped {where}, at {why}. What comes "
        "there depends on values, of which a recording has none. Take that part out of the forward, or prune "
        "the modules before and after it one by one."
    )


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0].rstrip('.')}"


def _parameters(model: nn.Module) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):
        return []


def _takes_one(model: nn.Module) -> str | None:
    """Return the name of the only argument that a forward takes and must have; None if there are others."""
    parameters = _parameters(model)
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    needed = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
    return needed[0].name if len(needed) == 1 else None


def _wants_all(model: nn.Module, args: Sequence[Any]) -> bool:
    """Tell whether a forward takes fewer arguments than there are."""
    parameters = _parameters(model)
    return not any(p.kind is p.VAR_POSITIONAL for p in parameters) and len(args) > len(parameters)
