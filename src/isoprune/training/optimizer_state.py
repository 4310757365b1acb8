"""The state of any optimizer as tensors and plain numbers, and back: no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from isoprune.types import IsopruneError


def described(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of the state, by parameter and name, and its numbers and those of its groups.

    Raises:
        IsopruneError: If it keeps anything else.
    """
    whole = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for place, state in whole["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{place}/{name}"] = value
            elif value is None or isinstance(value, bool | int | float):
                numbers.setdefault(str(place), {})[name] = value
            else:
                raise IsopruneError(
                    f"{type(optimizer).__name__} keeps {name}, a {type(value).__name__}, which a checkpoint "
                    "cannot hold: it takes tensors and numbers. Train without a checkpoint."
                )
    groups = [
        {name: value for name, value in group.items() if isinstance(value, bool | int | float)}
        for group in whole["param_groups"]
    ]
    return tensors, {"state": numbers, "groups": groups}


def restore_optimizer_(
    optimizer: Optimizer, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]
) -> None:
    """Bring an optimizer that was built alike to the state that `described` returned."""
    state: dict[int, dict[str, Any]] = {int(place): dict(own) for place, own in numbers["state"].items()}
    for key, value in tensors.items():
        place, _, name = key.partition("/")
        state.setdefault(int(place), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    groups = [{**own, **kept} for own, kept in zip(groups, numbers["groups"], strict=True)]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for parameter, own in optimizer.state.items():
        for name, value in own.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                # Laid out as the parameter is, which a fused update may want.
                own[name] = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
