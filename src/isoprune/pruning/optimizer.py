"""Optimizer state for the small network: momentum and Adam's moments lose the same channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from isoprune.graph import Graph
from isoprune.graph.cloning import tensor_names
from isoprune.graph.labels import restrict
from isoprune.types import IsopruneError, Plan


def shrink_optimizer_state(
    optimizer: Optimizer | Mapping[str, Any], model: nn.Module, small: nn.Module, graph: Graph, plan: Plan
) -> dict[str, Any]:
    """Return the state dict of ``optimizer`` for ``small``: its buffers without the plan's channels.

    Load it into an optimizer made over ``small.parameters()``, in groups as those of the dense one. Then
    a step goes on as if the removed channels had never been. (Weights that `shrink` rescaled, such as
    the queries of an attention that divides by the root of its width, keep their buffers unscaled.)

    Args:
        optimizer: Over ``model``'s parameters, or its state dict (then in the order of
            ``model.parameters()``).
        model: The dense network.
        small: What `shrink` made of it.
        graph: From `trace`.
        plan: What was removed.

    Returns:
        New state dict; the optimizer and its buffers are left as they are.

    Raises:
        IsopruneError: If the optimizer is not over the parameters of ``model``.
    """
    names = tensor_names(model)
    state = optimizer.state_dict() if isinstance(optimizer, Optimizer) else dict(optimizer)
    places = [i for group in state["param_groups"] for i in group["params"]]
    if isinstance(optimizer, Optimizer):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
    else:
        parameters = list(model.parameters())
    if len(parameters) != len(places) or any(id(p) not in names for p in parameters):
        raise IsopruneError(
            f"The optimizer holds {len(places)} parameters that are not all those of {type(model).__name__}, "
            f"which has {len(list(model.parameters()))}. Give the optimizer that trained this network."
        )
    kept = graph.kept_ids(plan)
    shapes = {name: tensor.shape for name, tensor in tensor_names(small).values()}
    buffers = {}
    for place, parameter in zip(places, parameters, strict=True):
        name, _ = names[id(parameter)]
        planes = graph.tensors[name][0] if name in graph.tensors else ()
        buffers[place] = {
            key: _cut(value, parameter, lambda t, p=planes: restrict(t, p, kept), shapes[name])
            for key, value in state["state"].get(place, {}).items()
        }
    return {
        "state": {i: b for i, b in buffers.items() if b},
        "param_groups": [dict(g) for g in state["param_groups"]],
    }


def _cut(value: Any, parameter: Tensor, cut: Any, shape: torch.Size) -> Any:
    """Cut a buffer that is shaped like its parameter; counters and the like stay."""
    if not isinstance(value, Tensor):
        return value
    if value.shape != parameter.shape:
        return value.clone()
    return cut(value).clone().reshape(shape)
