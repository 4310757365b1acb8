"""One forward of a network on inputs of any structure."""

from __future__ import annotations

from typing import Any

from torch import nn

from isoprune.graph.trace import as_call


def forward(model: nn.Module, inputs: Any) -> Any:
    """Return what ``model`` makes of a tensor, a tuple of arguments or a dict of keywords."""
    args, kwargs = as_call(inputs)
    return model(*args, **kwargs)
