"""Where the tensor behind a module's attribute lies, and what a mask leaves of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from isoprune.pruning.mask import Mask
from isoprune.types import IsopruneError


def stored(module: nn.Module, key: str) -> Tensor | None:
    """Return what is trained: the attribute itself, or the tensor that a mask is put on."""
    if parametrize.is_parametrized(module, key):
        return module.parametrizations[key].original  # pyright: ignore
    behind = getattr(module, f"{key}_orig", None)
    return getattr(module, key, None) if behind is None else behind


def kept_by_mask(module: nn.Module, key: str) -> Tensor | None:
    """Return which elements of an attribute a mask leaves (bool); None without a mask."""
    if parametrize.is_parametrized(module, key):
        chain = module.parametrizations[key]  # pyright: ignore
        only: object = chain[0]
        return only.kept if len(chain) == 1 and isinstance(only, Mask) else None
    mask = getattr(module, f"{key}_mask", None)  # of torch.nn.utils.prune
    return None if mask is None else mask.bool()


def is_plain(module: nn.Module, key: str) -> bool:
    """Return whether a tensor is a parameter, masked or not: what is written there stays."""
    return kept_by_mask(module, key) is not None or key in module._parameters


def require_plain(name: str, module: nn.Module, key: str) -> None:
    """Refuse a tensor that something else than a mask is computed from.

    Raises:
        IsopruneError: Naming the layer.
    """
    if not is_plain(module, key):
        raise IsopruneError(
            f"{name}: the weight is parametrised, so what a repair writes would not survive the next "
            "forward. Make it plain first: torch.nn.utils.parametrize.remove_parametrizations."
        )


@torch.no_grad()
def write_(module: nn.Module, key: str, value: Tensor) -> None:
    """Put a value behind an attribute; what a mask holds at zero stays as it was."""
    behind, kept = stored(module, key), kept_by_mask(module, key)
    assert behind is not None
    behind.copy_(value if kept is None else torch.where(kept, value.to(behind), behind))
    refresh_(module, key)


@torch.no_grad()
def refresh_(module: nn.Module, key: str) -> None:
    """Put what `torch.nn.utils.prune` computes before a forward where the forward reads it."""
    kept = getattr(module, f"{key}_mask", None)
    if kept is not None:
        setattr(module, key, getattr(module, f"{key}_orig").detach() * kept)


@contextmanager
def differentiable(*tensors: Tensor) -> Iterator[None]:
    """Let gradients reach these tensors for a while, whether they are trained or not."""
    before = [(tensor, tensor.requires_grad) for tensor in tensors]
    try:
        for tensor in tensors:
            tensor.requires_grad_()
        with torch.enable_grad():
            yield
    finally:
        for tensor, trained in before:
            tensor.requires_grad_(trained)
