"""Eval mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def in_eval_mode(*models: nn.Module) -> Iterator[None]:
    """Put networks into eval mode, and afterwards each of their submodules back into its own."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    # Not model.eval(), which a user's class may have given another meaning.
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
